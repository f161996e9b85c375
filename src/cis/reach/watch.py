"""When the network under a node changes, and when the machine has slept.

On Linux the kernel tells (`netlink`); elsewhere, and where it does not let us listen, the addresses are compared
every five seconds. Sleep shows in the clocks: CLOCK_BOOTTIME goes on while CLOCK_MONOTONIC stands still, and
where there is no such pair, the wall clock has moved on by more than was waited. Changes come in bursts, so they
are told together, half a second after the last.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from typing import TYPE_CHECKING, NoReturn

import ifaddr

from cis.reach.netlink import DONE, DUMPS, ERROR, GROUPS, Network, encode_dump, messages

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_S = 5.0
QUIET_S = 0.5
"""How long nothing must change before what changed is told."""
BURST_S = 3.0
"""How long it is put off at most."""
SLEPT_S = 3.0
"""A shorter sleep breaks nothing."""
_READ = 1 << 16
_READS_MAX = 64
_BUFFER = 1 << 18
_DUMP_TIMEOUT_S = 1.0


class NetworkWatch:
    """Tells of changes of the network, as long as `run` runs.

    ``slept`` gives the seconds the machine has slept since some moment; ``addresses`` is what is compared where
    the kernel does not tell.
    """

    def __init__(
        self,
        *,
        slept: Callable[[], float] | None = None,
        addresses: Callable[[], frozenset[str]] | None = None,
        netlink: bool = sys.platform == "linux",
        poll_s: float = POLL_S,
    ) -> None:
        self._slept = slept or _sleep_meter(poll_s)
        self._addresses = addresses or interface_addresses
        self._netlink = netlink
        self._poll_s = poll_s
        self._changes: dict[str, None] = {}
        self._changed = asyncio.Event()

    async def run(self, on_change: Callable[[str], None]) -> None:
        """Call ``on_change`` with what changed, in words without addresses, until cancelled."""
        kernel = _listen() if self._netlink else None
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as group:
                if kernel is not None:
                    loop.add_reader(kernel.fileno(), self._read, kernel, _known(kernel))
                else:
                    group.create_task(self._poll())
                group.create_task(self._watch_sleep())
                group.create_task(self._tell(on_change))
        finally:
            if kernel is not None:
                loop.remove_reader(kernel.fileno())
                kernel.close()

    def _note(self, *changes: str) -> None:
        self._changes.update(dict.fromkeys(changes))
        if changes:
            self._changed.set()

    def _read(self, kernel: socket.socket, network: Network) -> None:
        """Take what the kernel has to say, so much at a time; what it had to drop counts as a change."""
        for _ in range(_READS_MAX):
            try:
                data, sender = kernel.recvfrom(_READ)
            except BlockingIOError:
                return
            except OSError:
                self._note("more changed than could be followed")
                return
            if sender[0] == 0:
                self._note(*network.changes(data))

    async def _poll(self) -> NoReturn:
        before = self._addresses()
        while True:
            await asyncio.sleep(self._poll_s)
            now = self._addresses()
            self._note(*(["an address came"] if now - before else []), *(["an address went"] if before - now else []))
            before = now

    async def _watch_sleep(self) -> NoReturn:
        before = self._slept()
        while True:
            await asyncio.sleep(self._poll_s)
            now = self._slept()
            if now - before >= SLEPT_S:
                self._note(f"the machine slept {now - before:.0f} s")
            before = now

    async def _tell(self, on_change: Callable[[str], None]) -> NoReturn:
        loop = asyncio.get_running_loop()
        while True:
            await self._changed.wait()
            latest = loop.time() + BURST_S
            while self._changed.is_set() and loop.time() < latest:
                self._changed.clear()
                await asyncio.sleep(QUIET_S)
            self._changed.clear()
            changes, self._changes = self._changes, {}
            on_change(", ".join(changes))


def interface_addresses() -> frozenset[str]:
    """The addresses of this machine, each with its interface; without loopback and link-local ones."""
    found = set()
    for adapter in ifaddr.get_adapters():
        for entry in adapter.ips:
            text = entry.ip if isinstance(entry.ip, str) else entry.ip[0]
            if not text.startswith(("127.", "169.254.", "fe80:")) and text != "::1":
                found.add(f"{adapter.name} {text}")
    return frozenset(found)


def _listen() -> socket.socket | None:
    """A socket the kernel tells changes to, or None where it does not."""
    try:
        kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    except OSError:
        return None
    try:
        kernel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        kernel.bind((0, GROUPS))
        kernel.settimeout(0)
    except OSError:
        kernel.close()
        return None
    return kernel


def _known(kernel: socket.socket) -> Network:
    """The network as it is now, so that what the kernel only repeats is no change; what it does not list is left."""
    network = Network()
    with socket.socket(kernel.family, socket.SOCK_RAW, kernel.proto) as asking:
        asking.settimeout(_DUMP_TIMEOUT_S)
        for kind in DUMPS:
            try:
                asking.sendto(encode_dump(kind), (0, 0))
                while True:
                    data = asking.recv(_READ)
                    network.changes(data)
                    if any(last in {DONE, ERROR} for last, _ in messages(data)):
                        break
            except OSError:
                break
    return network


def _sleep_meter(poll_s: float) -> Callable[[], float]:
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    if boot is not None:
        return lambda: time.clock_gettime(boot) - time.monotonic()
    return _WallMeter(poll_s)


class _WallMeter:
    """Time the wall clock moved on by beyond what is waited between two looks."""

    def __init__(self, poll_s: float) -> None:
        self._poll_s = poll_s
        self._last = time.time()
        self._slept = 0.0

    def __call__(self) -> float:
        now = time.time()
        self._slept += max(0.0, now - self._last - self._poll_s)
        self._last = now
        return self._slept
