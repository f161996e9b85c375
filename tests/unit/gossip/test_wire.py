"""Gossip messages on the wire: what is too much, too long or out of range does not decode."""

from __future__ import annotations

import msgspec
import pytest

from cis.errors import Fault, PeerFault
from cis.wire import gossip as wire
from cis.wire.messages import decode

NODE = bytes(32)
ID = bytes(32)
TREE = bytes(8)
REFUSED = {
    "too many contacts": [37, [NODE, b""], [[NODE, b""]] * (wire.CONTACTS_MAX + 1), 3],
    "too many contacts in answer": [38, [[NODE, b""]] * (wire.CONTACTS_MAX + 1)],
    "a record too large": [32, [NODE, bytes(wire.RECORD_BYTES_MAX + 1)]],
    "no node": [32, [bytes(31), b""]],
    "walks too far": [33, [NODE, b""], wire.HOPS_MAX + 1],
    "too many hops": [40, wire.HOPS_MAX + 1, TREE, b""],
    "hops below none": [40, -1, TREE, b""],
    "no tree": [40, 1, bytes(9), b""],
    "too large a body": [40, 1, TREE, bytes(wire.BODY_BYTES_MAX + 1)],
    "too many offers": [41, [[ID, 1]] * (wire.WANTED_MAX + 1)],
    "no id": [41, [[bytes(31), 1]]],
    "too much wanted": [42, [ID] * (wire.WANTED_MAX + 1), []],
    "too many trees": [42, [], [TREE] * (wire.WANTED_MAX + 1)],
    "no tree to prune": [43, b""],
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_out_of_bounds_does_not_decode(what: str) -> None:
    with pytest.raises(PeerFault) as fault:
        decode(msgspec.msgpack.encode(REFUSED[what]))
    assert fault.value.fault is Fault.MALFORMED
