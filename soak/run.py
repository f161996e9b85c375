"""One run: nodes start, are asked things all the time, go and come back, are looked at; at the end all is compared."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import msgspec

import cis
from cis.api.memories.memory_schema import MemoryStats
from cis.model import Kind
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.store.author import Write
from cis.wire.content import Content
from faults.nodes import CONVERGENCE_S, cluster
from soak.daemons import Daemon, daemons
from soak.load import WORDS, Load, missing
from soak.sampling import Sample, sample

STAYING_MIN = 2
_POLL_S = 1.0
_BATCH = 500


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is asked to do. At most two nodes are restarted, and `STAYING_MIN` at least are not."""

    minutes: float = 60.0
    nodes: int = 5
    seed: int = 1
    writes_per_s: float = 1.0
    """of each node, on average"""
    sample_s: float = 10.0
    churn_s: float = 60.0
    """from one return to the next departure, on average"""
    away_max_s: float = 20.0
    archive: int = 5_000
    """memories there are before it begins, so that caches are as full as they get while it warms up"""


class Setting(msgspec.Struct, frozen=True, kw_only=True, tag="setting"):
    """When and where a run was made; sizes of machines in MiB."""

    plan: Plan
    staying: tuple[str, ...]
    date: str
    version: str
    python: str
    system: str
    processors: int
    load: float
    """of the machine, when the run began"""


class Ending(msgspec.Struct, frozen=True, kw_only=True, tag="ending"):
    """What was done, met and found broken."""

    seconds: float
    counts: dict[str, int]
    broken: tuple[str, ...]


class Looked(msgspec.Struct, frozen=True, tag="sample"):
    """One sample, as a line of the record."""

    sample: Sample


Line = Setting | Looked | Ending
Tell = Callable[[Line], None]


def soak(plan: Plan, tell: Tell, say: Callable[[str], None]) -> None:
    """Make the run; everything is told as it comes, so that a run that is cut off leaves what it had."""
    names = [f"node{number}" for number in range(1, plan.nodes + 1)]
    with cluster(*names) as nodes:
        _archive(nodes[0].home, plan)
        staying = max(STAYING_MIN, plan.nodes - 2)
        run = _Run(plan, daemons(nodes, staying), tell, say)
        tell(_setting(plan, run.daemons))
        began = time.monotonic()
        broken: list[str] = []
        try:
            asyncio.run(run.all())
        except* Exception as error:  # noqa: BLE001 - a run of an hour is not lost with what it found
            broken += [f"the run ended early: {one!r}" for one in _flat(error)]
        broken += [*run.broken, *run.load.wrong, *_stores(run.daemons)]
        tell(
            Ending(seconds=time.monotonic() - began, counts=dict(sorted(run.load.counts.items())), broken=tuple(broken))
        )


def _archive(home: Path, plan: Plan) -> None:
    """Write what is there from the beginning to one node, from which the others get it."""
    rng = Random(f"archive {plan.seed}")
    with LocalNode.open(Home(home)) as local:
        for first in range(0, plan.archive, _BATCH):
            numbers = range(first, min(first + _BATCH, plan.archive))
            contents = [Content(f"archive/{number}", " ".join(rng.choices(WORDS, k=80)).encode()) for number in numbers]
            local.store.write([Write(local.cluster.public, Kind.PUT, one) for one in contents]).result(CONVERGENCE_S)


def _setting(plan: Plan, found: Sequence[Daemon]) -> Setting:
    return Setting(
        plan=plan,
        staying=tuple(one.name for one in found if one.stays),
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=cis.__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processors=os.cpu_count() or 0,
        load=round(os.getloadavg()[0], 1),
    )


def _flat(error: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for one in error.exceptions:
        if isinstance(one, BaseExceptionGroup):
            yield from _flat(one)
        else:
            yield one


class _Run:
    def __init__(self, plan: Plan, found: list[Daemon], tell: Tell, say: Callable[[str], None]) -> None:
        self.daemons = found
        self.broken: list[str] = []
        self.load = Load(found, plan.seed, plan.writes_per_s)
        self._plan = plan
        self._tell = tell
        self._say = say
        self._rng = Random(f"churn {plan.seed}")
        self._began = time.monotonic()

    async def all(self) -> None:
        """Run for as long as planned, then let all come to rest, and compare."""
        try:
            for daemon in self.daemons:
                await daemon.start()
            await self._in_step()
            self._began = time.monotonic()
            await self._under_load()
            await self._compare()
        finally:
            for daemon in self.daemons:
                if not daemon.ended:
                    await self._end(daemon, signal.SIGTERM)

    async def _under_load(self) -> None:
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(self.load.listen(self.daemons[0]))
            for daemon in self.daemons:
                group.create_task(self.load.run(daemon))
            group.create_task(self._churn())
            group.create_task(self._look())
            await asyncio.sleep(60 * self._plan.minutes)
            self.load.quiet.set()
            listening.cancel()

    async def _quiet_within(self, seconds: float) -> bool:
        """Wait for so long, or until all is to be quiet; tells whether it is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.load.quiet.wait()
        return self.load.quiet.is_set()

    async def _churn(self) -> None:
        """Have one node after the other go, by one signal or the other, and come back."""
        going = [daemon for daemon in self.daemons if not daemon.stays]
        while going and not await self._quiet_within(self._plan.churn_s * self._rng.uniform(0.5, 1.5)):
            victim = self._rng.choice(going)
            number = self._rng.choice([signal.SIGTERM, signal.SIGKILL])
            await self._end(victim, number)
            self.load.counts["nodes stopped" if number == signal.SIGTERM else "nodes killed"] += 1
            await self._quiet_within(self._rng.uniform(0, self._plan.away_max_s))
            await victim.start()

    async def _end(self, daemon: Daemon, number: signal.Signals) -> None:
        """End a node; one that was up and is asked to must end well."""
        was_up = daemon.up.is_set()
        await daemon.end(number)
        if was_up and number == signal.SIGTERM and daemon.code != 0:
            self.broken.append(f"{daemon.name} ended with {daemon.code}: {daemon.told()}")

    async def _look(self) -> None:
        """Take samples; a node that ended by itself ends the run."""
        while not await self._quiet_within(self._plan.sample_s):
            for daemon in self.daemons:
                if not daemon.up.is_set():
                    continue
                if daemon.ended:
                    raise RuntimeError(f"{daemon.name} ended by itself: {daemon.told()}")
                if (found := await sample(daemon, self._began)) is not None:
                    self._tell(Looked(found))
                    self._say(f"{found.at_s:6.0f} s  {found.node}  {found.rss:6.1f} MiB  {found.descriptors} fds")

    async def _in_step(self) -> None:
        """Wait until all hold the same."""
        states: set[str] = set()
        try:
            async with asyncio.timeout(CONVERGENCE_S):
                while len(states := {await self._state(daemon) for daemon in self.daemons}) > 1:
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            self.broken.append(f"they do not come to hold the same: {states}")

    async def _compare(self) -> None:
        """Wait until all hold the same, then look on each for what was acknowledged."""
        await self._in_step()
        for daemon in self.daemons:
            async with daemon.client() as client:
                wrong = await missing(self.load, client)
            self.broken += [f"{daemon.name}: {one}" for one in wrong]
        ledger = self.load.ledger
        self.load.counts["acknowledged writes"] = ledger.acknowledged
        self.load.counts["memories, set elements and counters compared on every node"] = len(ledger.keys) + len(
            ledger.counters
        )
        self.load.counts["writes never acknowledged"] = ledger.uncertain()

    async def _state(self, daemon: Daemon) -> str:
        async with daemon.client() as client:
            stats = await client.call(MemoryStats())
        return next(one.state_hash for one in stats.spaces if one.name == "public")


def _stores(found: Sequence[Daemon]) -> Iterator[str]:
    """Check the stores, closed by now, and look for tracebacks in the logs."""
    for daemon in found:
        with LocalNode.open(Home(daemon.home)) as local:
            yield from (f"{daemon.name}: {complaint}" for complaint in local.store.check())
        if "Traceback" in (said := daemon.log.read_text(errors="replace")):
            yield f"{daemon.name} logged a traceback: {said[said.index('Traceback') :][:2000]}"


def keep(path: Path) -> Tell:
    """Return what writes lines to a file, a JSON object each, as they come."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")

    def tell(line: Line) -> None:
        with path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")

    return tell


def lines_of(path: Path) -> list[Line]:
    """Read what `keep` wrote; raises `msgspec.MsgspecError` where it is something else."""
    decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)
    return [decoder.decode(line) for line in path.read_bytes().splitlines()]
