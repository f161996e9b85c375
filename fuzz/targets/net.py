"""Datagrams of strangers on the node's one socket, and the frames of those who came in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from functools import cache, lru_cache
from hashlib import sha256
from hmac import digest
from random import Random

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from cis.errors import PeerFault
from cis.net import Endpoint
from cis.net.certificate import Certificate
from cis.net.limits import NetLimits
from cis.net.qh3_core import QuicCore, configuration_of, parse_long_header
from cis.net.stream import Stream
from fuzz.target import Shared, Target, on_loop, script, steps_in
from tests.unit.net.test_stream import _Carrier

INPUTS_PER_ENDPOINT = 16
FRAME_MAX = 4096
_SERVER = ("198.51.100.9", 9)
_SALT = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")
_BEFORE_CID, _AFTER_CID = b"\xc3\0\0\0\1\x08", b"\x04abcd\0"
"""A long header up to its length: an Initial of version 1, a number of four bytes, no token (RFC 9000 §17.2.2)."""
_FRAMES_BYTES = 1200 - len(_BEFORE_CID) - 8 - len(_AFTER_CID) - 2 - 4 - 16


class _Line:
    """A carrier that leads nowhere."""

    relayed = True
    congested = False

    def send(self, _: list[bytes], __: object) -> None:
        return None

    def when_writable(self, _: object) -> None:
        pass


def _open() -> Endpoint:
    return on_loop(Endpoint.open("127.0.0.1", 0, _certificate(), on_connection=lambda _: None))


_DOOR = Shared(_open, lambda endpoint: on_loop(endpoint.close()), every=INPUTS_PER_ENDPOINT)
_LINE = _Line()


def datagrams(data: bytes) -> None:
    """Anything a stranger sends, and first packets with any frames in them, under the keys that everybody knows."""
    on_loop(_knock(_DOOR.next(), data))


async def _knock(endpoint: Endpoint, data: bytes) -> None:
    visitor = _DOOR.inputs
    peer, cid = (f"198.{18 + (visitor >> 16) % 2}.{visitor >> 8 & 255}.{visitor & 255}", 9), visitor.to_bytes(8, "big")
    for place, (number, raw) in enumerate(steps_in(data)):
        datagram = initial(raw, cid, place) if number & 1 else raw
        endpoint.receive_via(_LINE, [(datagram, peer)])
    await asyncio.sleep(0)


def frames(data: bytes) -> None:
    """Bytes of a stream in any pieces: frames within their bound, or a fault."""
    on_loop(_cut(data))


async def _cut(data: bytes) -> None:
    stream = Stream(_Carrier(), 0)
    for _, raw in steps_in(data):
        stream.on_data(raw, ended=False)
    stream.on_data(b"", ended=True)
    with suppress(PeerFault):
        while (frame := await stream.read_frame(FRAME_MAX)) is not None:
            assert len(frame) <= FRAME_MAX


def initial(payload: bytes, cid: bytes = bytes(8), number: int = 0) -> bytes:
    """Return a client's Initial packet around these frames (RFC 9001 §5)."""
    key, iv, mask_key = _keys(cid)
    plain = payload[:_FRAMES_BYTES].ljust(_FRAMES_BYTES, b"\0")  # PADDING
    length = (0x4000 | 4 + len(plain) + 16).to_bytes(2, "big")
    head = _BEFORE_CID + cid + _AFTER_CID + length + number.to_bytes(4, "big")
    packet = bytearray(head + AESGCM(key).encrypt(_nonce(iv, number), plain, head))
    _cover(packet, len(head) - 4, mask_key, 4)
    return bytes(packet)


def frames_in(packet: bytes) -> bytes:
    """Return the frames of a client's Initial packet without a token."""
    header = parse_long_header(packet)
    assert header is not None
    key, iv, mask_key = _keys(header.destination_cid)
    at = 7 + len(header.destination_cid) + len(header.source_cid) + 1
    length, uncovered = int.from_bytes(packet[at : at + 2], "big") & 0x3FFF, bytearray(packet)
    _cover(uncovered, at + 2, mask_key, None)
    size = (uncovered[0] & 3) + 1
    head, end = bytes(uncovered[: at + 2 + size]), at + 2 + length
    number = int.from_bytes(head[-size:], "big")
    return AESGCM(key).decrypt(_nonce(iv, number), bytes(uncovered[len(head) : end]), head)


def _nonce(iv: bytes, number: int) -> bytes:
    return (int.from_bytes(iv, "big") ^ number).to_bytes(12, "big")


def _cover(packet: bytearray, at: int, key: bytes, size: int | None) -> None:
    """Take header protection off or put it on, in place; the packet number begins ``at``."""
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - as RFC 9001 §5.4.3 has it
    mask = encryptor.update(bytes(packet[at + 4 : at + 20]))
    packet[0] ^= mask[0] & 0x0F
    for place in range(size or (packet[0] & 3) + 1):
        packet[at + place] ^= mask[1 + place]


_certificate = cache(Certificate.generate)


@lru_cache(256)
def _keys(cid: bytes) -> tuple[bytes, bytes, bytes]:
    client = _expanded(digest(_SALT, cid, sha256), b"client in", 32)
    return _expanded(client, b"quic key", 16), _expanded(client, b"quic iv", 12), _expanded(client, b"quic hp", 16)


def _expanded(secret: bytes, label: bytes, length: int) -> bytes:
    info = length.to_bytes(2, "big") + bytes([6 + len(label)]) + b"tls13 " + label + b"\0"
    return HKDFExpand(SHA256(), length, info).derive(secret)


def _datagram_seeds() -> Iterable[bytes]:
    client = QuicCore.dialling(configuration_of(NetLimits(), None), _SERVER, 1.0)
    first = client.poll(1.0)[0]
    inside = frames_in(first).rstrip(b"\0")
    yield script((0, first))
    yield script((1, inside), (1, b"\x01" + inside))
    yield script((1, b"\x1c\x01\0\x04fail"), (1, b"\x02\x05\0\0\0"), (1, b"\x06\x40\x40\x10"), (0, initial(b"\x01")))
    yield script((0, b"\xc0\xba\xba\xba\xba\x08" + bytes(1200)), (0, b"\x40" + Random(1).randbytes(40)))


def _frame_seeds() -> Iterable[bytes]:
    yield script((0, b"\0\0\0\4bo"), (0, b"dy\0\0"), (0, b"\0\0\0\0\0\1x"))
    yield script((0, b"\xff\xff\xff\xff"), (0, b"\0\0\x10\0" + bytes(4000)))


TARGETS = (
    Target("net.datagrams", datagrams, _datagram_seeds),
    Target("net.frames", frames, _frame_seeds, bytes_max=8192),
)
