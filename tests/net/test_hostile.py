"""What strangers may send without harm."""

from __future__ import annotations

import asyncio
import os
import random
import socket

import pytest

from cis.net import Connection, Drop, NetLimits
from cis.net.qh3_core import QuicCore, configuration_of, parse_long_header
from tests.net.loopback import Node, OpenNode, until

_COUNT = 2000
_HERE = ("127.0.0.1", 1)


def initials() -> list[bytes]:
    """The first flight of an honest dialler."""
    core = QuicCore.dialling(configuration_of(NetLimits(), None), _HERE, 0.0)
    return core.poll(0.0, 100)


def mutated(datagram: bytes, rng: random.Random) -> bytes:
    changed = bytearray(datagram)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        changed[rng.randrange(min(len(changed), rng.choice([8, 40, len(changed)])))] = rng.randrange(256)
    return bytes(changed[: rng.choice([len(changed)] * 4 + [rng.randrange(len(changed) + 1)])])


async def _bombard(node: Node, datagrams: list[bytes]) -> None:
    """Send from one foreign socket, at the pace of the receiver, until all have been looked at."""
    before = node.endpoint.statistics().datagrams_in
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as foe:
        foe.connect(("127.0.0.1", node.port))
        for number, datagram in enumerate(datagrams, 1):
            foe.send(datagram)
            if number % 50 == 0:
                await until(lambda n=number: node.endpoint.statistics().datagrams_in >= before + n)


async def _still_works(dialler: Connection, listener: Connection) -> None:
    async with asyncio.timeout(10), await dialler.open_stream() as stream:
        await stream.write_frame(b"x" * 100_000)
        async with await listener.accept_stream() as other:
            assert await other.read_frame(1 << 20) == b"x" * 100_000


@pytest.fixture
async def honest(node: OpenNode) -> tuple[Node, Connection, Connection]:
    roomy = NetLimits(connections_max=256, connections_per_address_max=256, unauthenticated_max=64)
    a, b = await node(), await node(roomy)
    return b, await a.dial(b), await b.accepted.get()


async def test_random_datagrams_do_no_harm(honest: tuple[Node, Connection, Connection]) -> None:
    node, dialler, listener = honest
    rng = random.Random(7)
    await _bombard(node, [rng.randbytes(rng.choice([1, 20, 60, 1200, 1400])) for _ in range(_COUNT)])
    await _still_works(dialler, listener)
    dropped = node.endpoint.statistics().dropped
    assert dropped[Drop.NOT_QUIC] > 0
    assert dropped[Drop.UNKNOWN_CONNECTION] > 0


async def test_mutated_initials_do_no_harm(honest: tuple[Node, Connection, Connection]) -> None:
    node, dialler, listener = honest
    rng = random.Random(8)
    flights = [datagram for _ in range(20) for datagram in initials()]
    await _bombard(node, [mutated(rng.choice(flights), rng) for _ in range(_COUNT)])
    await _still_works(dialler, listener)
    statistics = node.endpoint.statistics()
    assert statistics.dropped[Drop.MALFORMED] > 0
    assert statistics.handshaking <= 64


async def test_an_unreadable_initial_takes_no_place(honest: tuple[Node, Connection, Connection]) -> None:
    node, _, _ = honest
    (first, *_) = initials()
    await _bombard(node, [first[:100] + os.urandom(len(first) - 100)])
    await until(lambda: node.endpoint.statistics().dropped.get(Drop.MALFORMED) == 1)
    assert node.endpoint.statistics().handshaking == 0


async def test_forged_datagrams_with_a_live_connections_id_do_not_end_it(
    honest: tuple[Node, Connection, Connection],
) -> None:
    node, dialler, listener = honest
    rng = random.Random(9)
    cids = [cid for cid, owner in node.endpoint._roster.routes.items() if owner is listener]
    forged = []
    for _ in range(_COUNT):
        cid = rng.choice(cids)
        body = rng.randbytes(rng.choice([0, 1, 20, 100, 1200]))
        short = bytes([0x40 | rng.randrange(64)]) + cid + body
        long = bytes([0xC0 | rng.randrange(64)]) + b"\0\0\0\1" + bytes([len(cid)]) + cid + b"\0" + body
        forged.append(rng.choice([short, long]))
    await _bombard(node, forged)
    await _still_works(dialler, listener)
    assert Drop.CRASHED_CORE not in node.endpoint.statistics().dropped


@pytest.mark.parametrize("raised", [TypeError("no"), ValueError("no"), UnicodeDecodeError("utf8", b"", 0, 1, "no")])
async def test_whatever_the_core_raises_ends_one_connection_only(
    node: OpenNode, raised: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = await node(), await node()
    dialler, listener = await a.dial(b), await b.accepted.get()
    victim = await a.dial(b)
    other_end = await b.accepted.get()

    def receive(*arguments: object) -> None:
        raise raised

    monkeypatch.setattr(other_end._drive.core._quic, "_drain_core", receive)
    stream = await victim.open_stream()
    await stream.write(b"x")
    await other_end.wait_closed()
    assert b.endpoint.statistics().dropped[Drop.CRASHED_CORE] == 1
    await _still_works(dialler, listener)


async def test_a_foreign_version_is_answered_with_ours(honest: tuple[Node, Connection, Connection]) -> None:
    node, _, _ = honest
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.setblocking(False)
        asker.connect(("127.0.0.1", node.port))
        ask = b"\xc3\x0a\x0a\x0a\x0a\x08" + b"D" * 8 + b"\x08" + b"S" * 8
        await loop.sock_sendall(asker, ask + bytes(100))  # too short to be answered: that would amplify
        await loop.sock_sendall(asker, ask + bytes(1200))
        answer = await loop.sock_recv(asker, 2000)
    assert answer[1:6] == b"\0\0\0\0\x08"
    assert answer[6:14] == b"S" * 8
    assert answer[-4:] == b"\0\0\0\1"
    assert node.endpoint.statistics().dropped[Drop.SHORT] == 1


async def test_a_forged_or_foreign_retry_token_is_dropped(
    honest: tuple[Node, Connection, Connection],
) -> None:
    node, _, _ = honest
    (first, *_) = initials()
    header = parse_long_header(first)
    assert header is not None
    head = 7 + len(header.destination_cid) + len(header.source_cid)
    forged = first[:head] + bytes([48]) + os.urandom(48) + first[head + 1 :]
    await _bombard(node, [forged])
    await until(lambda: node.endpoint.statistics().dropped.get(Drop.BAD_TOKEN) == 1)


async def test_a_flood_of_strangers_takes_bounded_room(node: OpenNode) -> None:
    b = await node(NetLimits(retry_above=4, unauthenticated_max=8))
    await _bombard(b, [initials()[0] for _ in range(100)])
    statistics = b.endpoint.statistics()
    assert statistics.handshaking == 4
    assert statistics.retries_sent == 96


async def test_a_stranger_who_sends_more_than_a_handshake_is_dropped(node: OpenNode) -> None:
    stranger, listener = await node(), await node(NetLimits(unauthenticated_bytes_max=100_000))
    connection = await stranger.dial(listener)
    accepted = await listener.accepted.get()
    stream = await connection.open_stream()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        pumping = group.create_task(stream.write(bytes(32 << 20)))
        reason = await accepted.wait_closed()
        pumping.cancel()
    assert "more than a handshake" in reason.text
    assert accepted.statistics().bytes_in < 20 << 20
