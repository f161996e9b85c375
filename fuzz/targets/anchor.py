"""An anchor among strangers: what any of them says changes nothing for the others, and nothing grows without bound."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from urllib.parse import urlsplit

from cis.anchor import protocol, tunnel
from cis.anchor.limits import AddressRates, AnchorLimits
from cis.anchor.protocol import Claim, encode
from cis.anchor.serving import AnchorOptions, Serving, serve
from cis.anchor.tunnel import BUNDLE_BYTES_MAX, Attach, bundled, unbundled
from cis.anchor.tunnels import Passage, Tunnels
from cis.trust.beacons import Beacon
from fuzz.target import Shared, Target, script, steps_in
from fuzz.targets.wire import golden
from tests.unit.anchor.switched import NAME, Anchor, Node, beacon

PATIENCE_S = 20.0
_HOSTS = ("203.0.113.1", "203.0.113.2", "2001:db8::1")
_LIMITS = dict.fromkeys(
    ("connects_per_minute", "requests_per_minute", "rooms_per_hour", "posts_per_minute", "post_bytes_per_minute"),
    1 << 20,
)


_ANCHOR = Shared(lambda: Anchor(**_LIMITS), lambda anchor: anchor.board.tick(anchor.now + 10_000, anchor.now + 10_000))


def switchboards(data: bytes) -> None:
    """Requests of three connections in any order, some never greeted; claims with a true signature among them."""
    anchor = _ANCHOR.next()
    nodes: list[Node | None] = [anchor.connect(host, greet=at < 2) for at, host in enumerate(_HOSTS)]
    for number, raw in steps_in(data):
        at = number % 3
        anchor.now += (number >> 8) % 64
        if number & 64:
            anchor.board.tick(anchor.now, anchor.now)
        nodes[at] = _ask(anchor, nodes[at], number, raw) or anchor.connect(_HOSTS[at])
        if number & 8:
            for node in nodes:
                if node is not None:
                    node.heard()
    for node in nodes:
        if node is not None:
            node.leave()
    assert anchor.board.connections == 0
    assert anchor.board.waiting.bytes == 0


def _ask(anchor: Anchor, node: Node | None, number: int, raw: bytes) -> Node | None:
    """Have a node say something; None where it is gone."""
    if node is None or number & 32 or node.party.ending is not None:
        if node is not None:
            node.leave()
        return None
    if number & 16:
        own = _beacon(number % 3)
        raw = encode(Claim(number, own.key, own.claim(node.party.challenge, NAME.encode())))
    anchor.board.take(node.party, raw, anchor.now, anchor.now)
    return node


def tunnels(data: bytes) -> None:
    """Channels that nodes open and use to carry anything."""
    limits = AnchorLimits(tunnels_per_minute=1 << 20, tunnel_queue_bytes=1 << 12)
    board = Tunnels(limits, AddressRates(limits), None)
    now, places = 0.0, list[Passage]()
    for number, raw in steps_in(data):
        now += (number >> 8) % 64
        board.tick(now)
        if len(places) < 3:
            places.append(_entered(board, len(places), raw, now, honest=bool(number & 1)))
            continue
        place = places[number % 3]
        if number & 4:
            board.leave(place)
            places.remove(place)
            continue
        assert board.take(place, raw, now) >= 0.0
        if number & 8:
            while board.sent(place) is not None:
                pass
        again = unbundled(raw[:BUNDLE_BYTES_MAX])
        assert [one for bundle in bundled(again) for one in unbundled(bundle)] == again
    for place in places:
        board.leave(place)
    board.tick(now + 1000)
    assert board.channels == 0
    assert board.waiting == 0


def _entered(board: Tunnels, at: int, raw: bytes, now: float, *, honest: bool) -> Passage:
    passage = board.connect(_HOSTS[at], now)
    board.attach(passage, encode(Attach(1, "", bytes(32), at == 0)) if honest else raw, now)
    return passage


def sockets(data: bytes) -> None:
    """A connection to a running anchor: any bytes, or a WebSocket and any frames; it ends, and the anchor does not."""
    with suppress(OSError), socket.create_connection(_server().place, PATIENCE_S) as connection:
        for at, (number, raw) in enumerate(steps_in(data)):
            if number & 1 and at == 0:
                connection.sendall(_UPGRADE % (tunnel.PATH if number & 2 else protocol.PATH).encode())
            connection.sendall(_framed(number >> 2, raw) if number & 1 else raw)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 16):
            pass
    assert _server().is_alive()


_UPGRADE = (
    b"GET %s HTTP/1.1\r\nHost: anchor.example.net\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def _framed(number: int, payload: bytes) -> bytes:
    """Return a masked frame (RFC 6455 §5.2); the number says the kind, and whether more of the message follow."""
    kind = (0x02, 0x02, 0x02, 0x00, 0x01, 0x08, 0x09, 0x0A, 0x82, 0x03)[number % 10] | (0x80 if number % 20 < 10 else 0)
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
    return bytes([kind]) + size + bytes(4) + payload


class _Server(threading.Thread):
    """An anchor with tunnels, served by a thread of its own."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.place = ("127.0.0.1", 0)
        self._ready = threading.Event()
        self.start()
        self._ready.wait(PATIENCE_S)

    def run(self) -> None:
        many = dict.fromkeys(AnchorLimits.__struct_fields__, 1 << 24)
        options = AnchorOptions(port=0, stun_port=None, tunnel=True, limits=AnchorLimits(**many))
        asyncio.run(serve(options.checked(), self._on_ready))

    def _on_ready(self, serving: Serving) -> None:
        self.place = "127.0.0.1", urlsplit(serving.url).port or 0
        self._ready.set()


_server = cache(_Server)


@cache
def _beacon(number: int) -> Beacon:
    return beacon(number)


def _switchboard_seeds() -> Iterable[bytes]:
    frames = golden("cis.anchor.protocol")
    yield script(*((8, frame) for frame in frames))
    yield script((16, b""), *((number % 2 | 8, frame) for number, frame in enumerate(frames)), (64, b""), (32, b""))
    tag = _beacon(1).tag
    yield script((17, b""), *((number % 2, frame.replace(frame[-21:-5], tag)) for number, frame in enumerate(frames)))


def _socket_seeds() -> Iterable[bytes]:
    hello = encode(protocol.Hello(1))
    yield script((1, hello), *((1, frame) for frame in golden("cis.anchor.protocol")))
    yield script(
        (1, hello), (9 << 2 | 1, b"ping"), (12 << 2 | 1, b"par"), (3 << 2 | 1, b"t"), (5 << 2 | 1, b"\3\xe8bye")
    )
    yield script((3, encode(Attach(1, "", bytes(32), opens=True))), (1, bytes(40)), (4 << 2 | 1, b"\xff"))
    yield script((0, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"), (0, _UPGRADE % b"/v1"), (0, b"\x82\x85"))
    yield script((0, b"GET /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"))


def _tunnel_seeds() -> Iterable[bytes]:
    bundle = next(bundled([b"one", b"two", bytes(1200)]))
    yield script((1, b""), (1, b""), (1, b""), (0, bundle), (1, bundle), (9, b""), (4, b""), (2, bundle))
    yield script(*((0, frame) for frame in golden("cis.anchor.tunnel")))


TARGETS = (
    Target("anchor.sockets", sockets, _socket_seeds),
    Target("anchor.switchboards", switchboards, _switchboard_seeds),
    Target("anchor.tunnels", tunnels, _tunnel_seeds),
)
