"""All attacks of strangers at once, while two members stay in step and a third comes."""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import socket
from pathlib import Path

import pytest

from cis.errors import CisError
from cis.net import Certificate, CloseReason, Drop, Endpoint
from tests.net.cluster import cluster, meet, put, running, until, value
from tests.net.test_hostile import initials, mutated

pytestmark = pytest.mark.timeout(120)

LORIS_S = 0.1
"""From one byte of a slow one to the next."""


async def _slow_loris(endpoint: Endpoint, target: tuple[str, int], ended: list[CloseReason]) -> None:
    """Complete QUIC handshakes, one after the other, say a little very slowly, and never authenticate."""
    while True:
        with contextlib.suppress(CisError):
            connection = await endpoint.dial(*target)
            stream = await connection.open_stream()
            for byte in (16 << 10).to_bytes(4):
                await stream.write(bytes([byte]))
                await asyncio.sleep(LORIS_S)
            ended.append(await connection.wait_closed())


async def _oversized(endpoint: Endpoint, target: tuple[str, int], ended: list[CloseReason]) -> None:
    """Announce frames of 4 GiB, and begin to send them."""
    while True:
        with contextlib.suppress(CisError):
            connection = await endpoint.dial(*target)
            stream = await connection.open_stream()
            await stream.write(b"\xff" * 4 + bytes(60_000))
            ended.append(await connection.wait_closed())


def _half_open(target: tuple[str, int], stack: contextlib.ExitStack, flight: list[bytes]) -> list[socket.socket]:
    """A thousand connections begun and not gone on with, from a hundred and twenty-five addresses."""
    sockets = []
    for number in range(1000):
        foe = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        foe.bind((f"127.0.1.{1 + number % 125}", 0))
        foe.connect(target)
        foe.send(flight[0])
        sockets.append(foe)
    return sockets


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc and the addresses of Linux's loopback")
async def test_under_a_thousand_hostile_connections_and_a_hundred_thousand_mutated_datagrams_members_go_on(
    tmp_path: Path,
) -> None:
    local, other, late = nodes = await cluster(tmp_path, "victim", "member", "late")
    rng, ended = random.Random(10), list[CloseReason]()
    flights = [datagram for _ in range(20) for datagram in initials()]
    damaged = [mutated(rng.choice(flights), rng) for _ in range(2000)]
    async with running(local) as driver, running(other) as honest:
        meet(honest, driver)
        await until(lambda: driver.links)
        target, before = driver.endpoint.address, _resident_bytes()
        async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            sockets = _half_open(target, stack.enter_context(contextlib.ExitStack()), flights)
            attacks = []
            for number in range(24):
                own = await Endpoint.open(
                    f"127.0.2.{1 + number // 8}", 0, Certificate.generate(), on_connection=lambda _: None
                )
                endpoint = await stack.enter_async_context(own)
                kind = _slow_loris if number % 2 else _oversized
                attacks.append(group.create_task(kind(endpoint, target, ended)))
            for round_ in range(100):
                for number in range(1000):
                    sockets[number].send(rng.choice(damaged))
                    if number % 50 == 0:
                        await asyncio.sleep(0)
                if round_ % 5 == 0:  # honest members stay in step all the while
                    await put(other, f"key {round_}", b"value")
                    await until(lambda n=round_: value(local, f"key {n}") == b"value")
                statistics = driver.endpoint.statistics()
                assert statistics.unauthenticated <= 32
                assert statistics.connections + statistics.handshaking <= 64
            grown = _resident_bytes() - before
            for attack in attacks:
                attack.cancel()
        assert grown < 128 << 20
        assert statistics.datagrams_in > 20_000  # the kernel drops what the loop has no time for
        assert statistics.dropped[Drop.MALFORMED] > 1000
        assert statistics.retries_sent > 100
        async with running(late) as newcomer:
            meet(newcomer, driver)
            await until(lambda: newcomer.links, 5)
            await put(late, "after", b"value")
            await until(lambda: value(local, "after") == b"value", 5)
        assert ended
        assert Drop.CRASHED_CORE not in driver.endpoint.statistics().dropped
    for node in nodes:
        node.close()
