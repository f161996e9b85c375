"""Real nodes, a process each, that write all the time while something is done to them; and the judgement at the end.

Whatever was done: once it is over, all nodes come to the same state, each store is whole, and each holds every write
that any of them acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import msgspec

from cis.model import did_of
from cis.node.driver import Driver, NodeOptions
from cis.node.entry.joining import join
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.wire.membership import Role
from faults.child import Orders
from faults.report import Report, Task

ROOT = Path(__file__).resolve().parents[1]
START_S, STATE_S, STOP_S, CONVERGENCE_S = 90.0, 60.0, 60.0, 240.0
ANSWER_S = 20.0
_POLL_S = 0.1
_SAID_EVERY = 10


@dataclass
class Node:
    """One home, and the process that runs in it, if one does."""

    home: Path
    did: str
    host: str = "127.0.0.1"
    port: int = 0
    pause_s: float = 0.02
    """between two writes"""
    sick: Path | None = None
    before: tuple[str, ...] = ()
    """what stands before the command, to run it elsewhere"""
    variables: dict[str, str] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    refused: int = 0
    _states: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    _process: asyncio.subprocess.Process | None = None
    _reading: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """The process that runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it ended, by itself or not."""
        return self._process is None or self._process.returncode is not None

    @property
    def log(self) -> Path:
        """Where what it says beside its answers goes."""
        return self.home.with_suffix(".log")

    async def start(self, peers: Sequence[Node], group: asyncio.TaskGroup) -> None:
        """Start it, and wait until it is ready."""
        orders = Orders(
            str(self.home),
            self.host,
            self.port,
            [(peer.did, peer.host, peer.port) for peer in peers if peer is not self],
            self.home.name,
            self.pause_s,
            str(self.sick or ""),
        )
        command = [*self.before, sys.executable, "-m", "faults.child", msgspec.json.encode(orders).decode()]
        path = os.pathsep.join(filter(None, [self.variables.get("PYTHONPATH"), str(ROOT), str(ROOT / "src")]))
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env={**os.environ, **self.variables, "PYTHONPATH": path},
            )
        ready = asyncio.Event()
        self._states = asyncio.Queue()
        self._reading = group.create_task(self._read(self._process, ready))
        async with asyncio.timeout(START_S):
            await ready.wait()
        if self.ended:
            raise RuntimeError(f"{self.home.name} did not start: {self.told()}")

    async def _read(self, process: asyncio.subprocess.Process, ready: asyncio.Event) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            word, _, rest = line.decode().strip().partition(" ")
            if word == "ready":
                ready.set()
            elif word == "ack" and line.endswith(b"\n"):
                self.acknowledged.add(rest)
            elif word == "refused":
                self.refused += 1
            elif word == "state":
                self._states.put_nowait(rest)
        await process.wait()
        ready.set()

    async def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send it a signal that ends it, and read what it said until then."""
        assert self._process is not None
        assert self._reading is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        async with asyncio.timeout(STOP_S):
            await self._reading

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal that does not end it."""
        os.kill(self.pid, number)

    async def ask(self, word: str) -> None:
        """Give it an order."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())
        await self._process.stdin.drain()

    async def state(self) -> str:
        """Return the hash of what it holds."""
        await self.ask("state")
        async with asyncio.timeout(STATE_S):
            return await self._states.get()

    def told(self) -> str:
        """Return the last of what it logged."""
        return self.log.read_text(errors="replace")[-1500:]


@dataclass
class Crowd:
    """All nodes of a cluster, under the group that reads what they say."""

    nodes: list[Node]
    group: asyncio.TaskGroup
    report: Report
    rng: Random
    may_end: bool = False
    """whether what is done to them may end them"""
    say: Callable[[str], None] = lambda _: None
    """told how far it has come"""

    @property
    def counts(self) -> Counter[str]:
        """What was done and met."""
        return self.report.counts

    async def start(self, node: Node) -> None:
        """Start a node that knows the others."""
        await node.start(self.nodes, self.group)

    async def revive(self) -> None:
        """Start what ended by itself, and hold that against it unless it had to be expected."""
        for node in self.nodes:
            if node.ended:
                self.counts["nodes that ended by themselves"] += 1
                if not self.may_end:
                    self.report.broken.append(f"{node.home.name} ended by itself: {node.told()}")
                await self.start(node)

    async def rounds(self, count: int, longest_s: float) -> AsyncIterator[None]:
        """Yield that often, each time after they have written for a while, with all of them running."""
        for done in range(count):
            await self.while_writing(longest_s)
            await self.revive()
            if done and done % _SAID_EVERY == 0:
                self.say(f"{done:,} of {count:,}; {len(self.report.broken)} broken")
            yield

    async def while_writing(self, longest_s: float) -> None:
        """Let them write for a while."""
        await asyncio.sleep(self.rng.uniform(0, longest_s))

    async def wait_acknowledged(self, nodes: Sequence[Node]) -> None:
        """Wait until each of these has acknowledged another write."""
        before = [len(node.acknowledged) for node in nodes]
        async with asyncio.timeout(STATE_S):
            while any(len(node.acknowledged) == was for node, was in zip(nodes, before, strict=True)):
                await asyncio.sleep(_POLL_S)

    async def answers(self, node: Node) -> bool:
        """Tell whether a node answers within a bound."""
        try:
            async with asyncio.timeout(ANSWER_S):
                await node.state()
        except (TimeoutError, OSError):  # gone, perhaps
            return False
        return True

    async def converge(self) -> None:
        """Have the writing end, and wait until all hold the same."""
        for node in self.nodes:
            await node.ask("quiet")
        try:
            async with asyncio.timeout(CONVERGENCE_S):
                while len({await node.state() for node in self.nodes}) > 1:
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            self.report.broken.append("they do not come to hold the same, or one does not answer")
            await self._ask_why()

    async def _ask_why(self) -> None:
        """Have each say in its log where all its threads are."""
        for node in self.nodes:
            before = node.told()
            node.signal(signal.SIGUSR1)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    while node.told() == before:
                        await asyncio.sleep(_POLL_S)
            self.report.broken.append(f"{node.home.name} is at: {node.told()}")


Disturb = Callable[[Crowd, int], Awaitable[None]]


async def trial(
    task: Task, report: Report, nodes: list[Node], disturb: Disturb, *, may_end: bool = False, may_log: bool = False
) -> None:
    """Run nodes, disturb them that many times, let them come to rest, and judge what they hold.

    ``may_end`` and ``may_log`` say that nodes may end, and log tracebacks, of what is done to them.
    """
    async with asyncio.TaskGroup() as group:
        crowd = Crowd(nodes, group, report, Random(f"{report.fault} {task.seed}"), may_end, task.say)
        try:
            for node in nodes:
                await crowd.start(node)
            await disturb(crowd, task.count)
            await crowd.revive()
            await crowd.converge()
        finally:
            for node in nodes:
                if not node.ended:
                    await node.end(signal.SIGTERM)
    judge(nodes, report, may_log=may_log)


def judge(nodes: Sequence[Node], report: Report, *, may_log: bool = False) -> None:
    """Look for every acknowledged write in every store, and for tracebacks in the logs."""
    everything = sorted(set().union(*(node.acknowledged for node in nodes)))
    report.counts["acknowledged writes looked for on every node"] += len(everything)
    if refused := sum(node.refused for node in nodes):
        report.counts["writes refused"] += refused
    for node in nodes:
        with LocalNode.open(Home(node.home)) as local:
            report.broken += [f"{node.home.name}: {complaint}" for complaint in local.store.check()]
            missing = [key for key in everything if local.store.reader.recall(local.cluster.public, key) is None]
            if missing:
                report.broken.append(f"{node.home.name} lacks {len(missing)} acknowledged writes, {missing[0]} first")
        if not may_log and "Traceback" in (said := node.log.read_text(errors="replace")):
            report.broken.append(f"{node.home.name} logged a traceback: {said[said.index('Traceback') :][:2000]}")


@contextlib.contextmanager
def cluster(*names: str) -> Iterator[list[Node]]:
    """Make homes of one cluster, whose nodes do not run."""
    with tempfile.TemporaryDirectory() as folder:
        yield asyncio.run(_joined(Path(folder), names))


async def _joined(folder: Path, names: Sequence[str]) -> list[Node]:
    first, *others = (LocalNode.create(Home(folder / name), name) for name in names)
    driver, ready = Driver(first, NodeOptions(host="127.0.0.1", port=0)), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(driver.run(ready.set))
        await ready.wait()
        for other, name in zip(others, names[1:], strict=True):
            ticket = first.cluster.invite(first.store, Role.WRITER, None, 60_000, driver.addresses())
            await join(other, ticket, name)
        driver.stop()
    nodes = []
    for local in (first, *others):
        nodes.append(Node(local.home.folder, did_of(local.identity.node), port=free_port()))
        local.close()
    return nodes


def free_port() -> int:
    """Return a port of loopback that nobody has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
