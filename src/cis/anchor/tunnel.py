"""The tunnel of an anchor: what the two ends say to it, and how datagrams travel (docs/protocol.md).

A WebSocket at `PATH` carries the datagrams of one channel between two nodes that agreed on its id beforehand, where
nobody else heard. Who waits opens the channel, who comes enters it; the anchor answers each once, and from then on
passes every message on as it is. A message is a bundle: datagrams, each after its length. ::

    → Attach(VERSION, token, channel, opens=True)      ← Attached()       → bundle     ← bundle
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec

from cis.anchor.protocol import CHUNK_BYTES_MAX, TOKEN_LENGTH_MAX
from cis.wire.decoding import Bytes32, decode_message

PATH = "/v1/tunnel"
DATAGRAM_BYTES_MAX = 2048
BUNDLE_BYTES_MAX = CHUNK_BYTES_MAX
_ATTACH_BYTES_MAX = 1024
_LENGTH = struct.Struct("!H")


class Attach(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=19):
    """Node → anchor, first: wait in a channel (``opens``), or join who waits there."""

    version: Annotated[int, msgspec.Meta(ge=1, lt=1 << 16)]
    token: Annotated[str, msgspec.Meta(max_length=TOKEN_LENGTH_MAX)]
    channel: Bytes32
    opens: bool

    def __repr__(self) -> str:
        return f"Attach(opens={self.opens})"


class Attached(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True, tag=20):
    """Anchor → node: what follows is bundles."""


encode = msgspec.msgpack.Encoder().encode
_ATTACH: msgspec.msgpack.Decoder[Attach] = msgspec.msgpack.Decoder(Attach)
_ATTACHED: msgspec.msgpack.Decoder[Attached] = msgspec.msgpack.Decoder(Attached)


def decode_attach(data: bytes) -> Attach:
    """Return what a node begins with; `cis.errors.PeerFault` when it is something else."""
    return decode_message(_ATTACH, data, what="a message to the anchor", bytes_max=_ATTACH_BYTES_MAX)


def decode_attached(data: bytes) -> Attached:
    """Return what the anchor answers to that; `cis.errors.PeerFault` when it is something else."""
    return decode_message(_ATTACHED, data, what="a message of the anchor", bytes_max=_ATTACH_BYTES_MAX)


def bundled(datagrams: Iterable[bytes]) -> Iterator[bytes]:
    """Put datagrams into as few bundles as they fit; one that is too long for any network is left out."""
    bundle = bytearray()
    for datagram in datagrams:
        if not 0 < len(datagram) <= DATAGRAM_BYTES_MAX:
            continue
        if len(bundle) + _LENGTH.size + len(datagram) > BUNDLE_BYTES_MAX:
            yield bytes(bundle)
            bundle.clear()
        bundle += _LENGTH.pack(len(datagram)) + datagram
    if bundle:
        yield bytes(bundle)


def unbundled(bundle: bytes) -> list[bytes]:
    """Return the datagrams of a bundle; of one that is malformed those before the fault, as a network would lose it."""
    found, at = [], 0
    while at + _LENGTH.size <= len(bundle):
        (length,) = _LENGTH.unpack_from(bundle, at)
        at += _LENGTH.size
        if not 0 < length <= DATAGRAM_BYTES_MAX or at + length > len(bundle):
            break
        found.append(bundle[at : at + length])
        at += length
    return found
