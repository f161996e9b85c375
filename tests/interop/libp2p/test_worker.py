"""The real worker by itself: it ends with its parent, stays within its bounds, and dials nothing it should not."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cis.discovery.libp2p.bounds import Bounds
from cis.discovery.libp2p.messages import Begin, Show, Standing, Trouble
from cis.discovery.libp2p.process import COMMAND, Worker, started
from tests.interop.libp2p.needs import PATIENCE_S, POLL_S, needs_libp2p

pytestmark = [needs_libp2p, pytest.mark.timeout(180)]
PEER = "12D3KooWKnDdG3iXw9eTFijk3EWSunZcFi54Zka4wmtqtt6rPxc8"
NOBODY = f"/ip4/127.0.0.1/tcp/9/p2p/{PEER}"
MIB = 1 << 20
PARENT = """
import subprocess, sys, time
from cis.discovery.libp2p.process import COMMAND
worker = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(worker.pid, flush=True)
time.sleep(600)
"""


def begin(*entries: str, port: int = 0) -> Begin:
    return Begin("127.0.0.1", port, entries or (NOBODY,), private=True, loopback=True)


@asynccontextmanager
async def working(orders: Begin) -> AsyncIterator[Worker]:
    async with started(COMMAND) as worker:
        await worker.send(orders)
        yield worker


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(POLL_S)


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody waits for has too."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
async def test_a_worker_ends_with_its_parent_however_that_ends(ending: signal.Signals) -> None:
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    await until(lambda: b"libp2p.worker" in Path(f"/proc/{pid}/cmdline").read_bytes())
    parent.send_signal(ending)
    await parent.wait()
    await until(lambda: gone(pid))


async def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with working(begin(port=taken.getsockname()[1])) as worker, asyncio.timeout(PATIENCE_S):
            assert await worker.receive() == Standing(0, False, Trouble.PORT)


async def test_entry_points_that_do_not_answer_are_told() -> None:
    async with working(begin()) as worker, asyncio.timeout(PATIENCE_S):
        assert await worker.receive() == Standing(0, False, Trouble.LONELY)


async def test_the_node_says_nothing_that_is_no_order(capfd: pytest.CaptureFixture[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate(b"\xff\xff\xff\xffjunk")
    assert (process.returncode, output) == (1, b"")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_connections_full_of_junk_leave_the_worker_alive_and_its_memory_bounded() -> None:
    port = free_port()
    async with working(begin(port=port)) as worker:
        await worker.send(Show(bytes(16), b"sealed", ("127.0.0.1",)))
        await worker.receive()
        before = _resident(worker.pid)
        for turn in range(600):
            await _annoy(port, turn)
        await until(lambda: _connects(port))
        assert not gone(worker.pid)
        assert _resident(worker.pid) < before + 60 * MIB


async def _annoy(port: int, turn: int) -> None:
    """Speak multistream, Noise and nonsense, and leave."""
    junk = os.urandom(1 + turn * 37 % 4096)
    words = (junk, b"\x13/multistream/1.0.0\n\x07/noise\n" + junk, b"\xff" * 4096, b"")[turn % 4]
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(words)
        await writer.drain()
        writer.close()
    except OSError:
        return


def _connects(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_py_libp2p_dials_no_address_out_of_bounds_and_resolves_no_name() -> None:
    import trio
    from libp2p.transport.exceptions import OpenConnectionError
    from multiaddr import Multiaddr

    from cis.discovery.libp2p.guard import GuardedTcp, NamelessGate

    with socket.create_server(("127.0.0.1", 0)) as canary:
        canary.setblocking(False)
        port = canary.getsockname()[1]
        guarded = GuardedTcp(Bounds(private=False, loopback=False))
        gate = NamelessGate()
        for text in (f"/ip4/127.0.0.1/tcp/{port}", f"/dns4/localhost/tcp/{port}", "/dnsaddr/localhost"):
            address = Multiaddr(text)
            assert not guarded.can_dial(address)
            for dial in (guarded.dial, lambda one: guarded.dial_with_source(one, ("127.0.0.1", 0))):
                with pytest.raises(OpenConnectionError, match="may not be dialled"):
                    await asyncio.to_thread(trio.run, dial, address)
        assert not await gate.is_allowed(Multiaddr(f"/dns4/localhost/tcp/{port}"))
        assert await gate.is_allowed(Multiaddr("/ip4/192.0.2.7/tcp/4001"))
        with pytest.raises(BlockingIOError):
            canary.accept()
