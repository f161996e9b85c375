"""Identities and their text form, against the vectors of the W3C did:key method for Ed25519."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_sign_seed_keypair

from cis.errors import UsageError
from cis.model import NodeId, did_of, node_of, parse_did, replica_id, short_id

# w3c-ccg/did-method-key, test-vectors/ed25519-x25519.json: seeds 00…00, 00…01, 00…02
VECTORS = [
    (0, "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"),
    (1, "did:key:z6MkjchhfUsD6mmvni8mCdXHw216Xrm9bQe2mBH1P5RDjVJG"),
    (2, "did:key:z6MknGc3ocHs3zdPiJbnaaqDi58NGb4pk1Sp9WxWufuXSdxf"),
]


@pytest.mark.parametrize(("seed", "did"), VECTORS)
def test_a_node_is_written_as_did_key_writes_it(seed: int, did: str) -> None:
    node = NodeId(crypto_sign_seed_keypair(seed.to_bytes(32, "big"))[0])
    assert did_of(node) == did
    assert parse_did(did) == node


@given(st.binary(min_size=32, max_size=32))
def test_every_key_comes_back_from_its_text(key: bytes) -> None:
    did = did_of(NodeId(key))
    assert did.startswith("did:key:z6Mk")
    assert parse_did(did) == key
    assert did.removeprefix("did:key:").startswith(short_id(NodeId(key)))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is not a DID"),
        ("laptop", "is not a DID"),
        ("did:web:example.org", "is not a DID"),
        ("did:key:z" + "1" * 100, "is not a DID"),
        ("did:key:z", "does not hold an Ed25519 key"),
        ("did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooW", "does not hold an Ed25519 key"),
        ("did:key:z6LSeu9HkTHSfLLeUs2nnzUSNedgDUevfNQgQjQC23ZCit6F", "does not hold an Ed25519 key"),  # X25519
        ("did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mD0oWp", "'0' does not occur in a DID"),
        ("did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooW\n", "does not occur in a DID"),
    ],
)
def test_what_is_no_ed25519_did_is_refused_and_says_why(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        parse_did(text)


def test_a_replica_is_a_node_and_an_incarnation() -> None:
    node = NodeId(bytes(range(32)))
    replica = replica_id(node, b"12345678")
    assert (node_of(replica), replica[32:]) == (node, b"12345678")
    for bad in ((node[:31], b"12345678"), (node, b"1234567")):
        with pytest.raises(ValueError, match="32 bytes of node id and 8 of incarnation"):
            replica_id(NodeId(bad[0]), bad[1])
