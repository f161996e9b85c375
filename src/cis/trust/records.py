"""Node records on the wire: signed by the node they speak of, numbered, expiring."""

from __future__ import annotations

from typing import Annotated

import msgspec

from cis.errors import Fault, PeerFault
from cis.model import Candidate, NodeId, NodeRecord
from cis.model.record import CANDIDATES_MAX, RECORD_BYTES_MAX
from cis.trust.identity import Identity, Label, verify
from cis.wire.decoding import Milliseconds, Node, Signature, decode_message

RECORD_LIFE_MS = 24 * 3600 * 1000
_PATHS = ("lan", "direct", "mapped", "relayed")


class _Statement(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    node: Node
    number: Milliseconds
    expires_ms: Milliseconds
    candidates: Annotated[
        tuple[
            tuple[
                Annotated[str, msgspec.Meta(min_length=1, max_length=253)],
                Annotated[int, msgspec.Meta(ge=1, lt=1 << 16)],
                Annotated[int, msgspec.Meta(ge=0, lt=len(_PATHS))],
            ],
            ...,
        ],
        msgspec.Meta(max_length=CANDIDATES_MAX),
    ]


class _Signed(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    statement: Annotated[bytes, msgspec.Meta(max_length=RECORD_BYTES_MAX)]
    signature: Signature


_SIGNED = msgspec.msgpack.Decoder(_Signed)
_STATEMENT = msgspec.msgpack.Decoder(_Statement)


def sign_record(identity: Identity, candidates: tuple[Candidate, ...], now_ms: int) -> bytes:
    """Return this node's record as of now; its number is the time, so later ones replace earlier ones."""
    listed = tuple((one.host, one.port, _PATHS.index(one.path)) for one in candidates[:CANDIDATES_MAX])
    statement = msgspec.msgpack.encode(_Statement(identity.node, now_ms, now_ms + RECORD_LIFE_MS, listed))
    return msgspec.msgpack.encode(_Signed(statement, identity.sign(Label.RECORD, statement)))


def read_record(raw: bytes) -> NodeRecord:
    """Return a record whose signature holds; `PeerFault` otherwise."""
    signed = decode_message(_SIGNED, raw, what="a node record", bytes_max=RECORD_BYTES_MAX)
    stated = decode_message(_STATEMENT, signed.statement, what="a node record", bytes_max=RECORD_BYTES_MAX)
    node = NodeId(stated.node)
    if not verify(node, Label.RECORD, signed.statement, signed.signature):
        raise PeerFault(Fault.BAD_SIGNATURE, "a node record that its node did not sign")
    candidates = tuple(Candidate(host, port, _PATHS[path]) for host, port, path in stated.candidates)
    return NodeRecord(node, stated.number, stated.expires_ms, candidates, signed.signature)
