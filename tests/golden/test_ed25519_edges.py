"""What our verifier answers to signatures on which Ed25519 libraries disagree, fixed for good.

The vectors (`ed25519_edges.json`) were made for this test by arithmetic on the curve: keys and commitments of
small order in all their encodings, points with a component of small order, and scalars beyond the order of
the group, after the cases in "Taming the many EdDSAs" (Chalkias et al., 2020). Their answers are libsodium's.
OpenSSL answers eleven of them otherwise. An answer that changes would split clusters: never edit the file.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cis.trust.identity import _verify

VECTORS = json.loads(Path(__file__).with_name("ed25519_edges.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_an_edge_signature_gets_the_same_answer_always(vector: dict[str, str]) -> None:
    public, message, signature = (bytes.fromhex(vector[part]) for part in ("public", "message", "signature"))
    assert _verify(public, message, signature) is vector["valid"]


def test_no_key_or_commitment_of_small_order_is_accepted() -> None:
    small = [vector for vector in VECTORS if "small order" in vector["name"]]
    assert len(small) == 42
    assert not any(vector["valid"] for vector in small)
