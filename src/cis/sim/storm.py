"""What befalls a cluster in a run: users who write, and everything that goes wrong, drawn from the seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING

from cis.errors import CisError
from cis.model import Kind
from cis.node.core import events
from cis.sim.decrees import Decrees
from cis.sim.disk import fail_next_commit
from cis.sim.keeping import embed, keep
from cis.sim.lending import read_something
from cis.sim.wires import DETECTION_S
from cis.store.author import Write
from cis.store.keeping import Keep
from cis.wire.content import Content

if TYPE_CHECKING:
    from cis.sim.node import SimNode
    from cis.sim.world import World

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
YEAR_2100_MS = 2_400_000_000_000
"""From the start of a run to the year 2100 and a little more."""
SKEWS_MS = (0, -10 * MINUTE_MS, 10 * MINUTE_MS, 11 * MINUTE_MS, -HOUR_MS, HOUR_MS, YEAR_2100_MS, -24 * HOUR_MS)
LARGE_BYTES = (66_000, 250_000)
PRIVATE = 0.1
"""The share of writes that are private."""
KEEPING_ALL = 0.35
"""How often a device that thinks again of what it keeps comes to keep everything."""
POLICIES = (
    Keep(vectors=False),
    Keep(names=True),
    Keep(prefixes=("register/0", "register/1")),
    Keep(vectors=False, names=True),
)
WISHES = (
    (Kind.PUT, "register"),
    (Kind.PUT, "register"),
    (Kind.PUT, "register"),
    (Kind.DELETE, "register"),
    (Kind.DELETE, "counter"),
    (Kind.DELETE, "set"),
    (Kind.COUNT, "counter"),
    (Kind.COUNT, "counter"),
    (Kind.ADD, "set"),
    (Kind.ADD, "set"),
    (Kind.REMOVE, "set"),
)
"""What users do, and to memories of which type."""


class Storm:
    """Plans the whole run on the world's kernel."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = world.kernel.rng
        self._values = 0
        self._backups: set[int] = set()
        decrees = Decrees(world, self)
        self._faults: dict[str, Callable[[], None]] = {
            "partition": self._partition,
            "crash": self._crash,
            "leave": self._leave,
            "restore": self._restore,
            "clock": self._set_clock,
            "cut": self._cut,
            "rest": self._rest,
            "evil": self._evil,
            "revoke": decrees.revoke,
            "feud": decrees.feud,
            "demote": decrees.demote,
            "rotate": decrees.rotate,
            "keep": self._keep,
            "read": lambda: read_something(world, self._someone(world.honest), self._keys),
        }
        scenario = world.scenario
        scale = max(1.0, len(world.nodes) / scenario.nodes)
        more = math.sqrt(scale)
        self._keys = round(scenario.keys * more)
        self._plan(round(scenario.writes * more), self.write)
        self._plan(round(scenario.broadcasts * more), self._broadcast)
        for name, times in sorted(scenario.faults.items()):
            self._plan(round(times * scale * self._rng.choice((0.3, 1.0, 1.0, 2.0))), self._faults[name])

    def _plan(self, times: int, action: Callable[[], None]) -> None:
        for _ in range(times):
            self._world.kernel.at(self._rng.uniform(0.5, self._world.scenario.duration_s), action)

    def _someone(self, among: Sequence[SimNode] | None = None) -> SimNode | None:
        able = [node for node in among or self._world.honest if node.up]
        return self._rng.choice(able) if able else None

    # --- users -----------------------------------------------------------------------------------------------------

    def write(self) -> None:
        """One to three writes at one node; now and then the same memory at several at once."""
        for _ in range(self._rng.choice((1, 1, 1, 3))):
            node = self._someone(self._world.writers)
            if node is not None:
                self.write_at(node)

    def write_at(self, node: SimNode) -> None:
        """Write at an honest node, if it is up and its users may."""
        if not (node.honest and node.up and node.writes):
            return
        if self._rng.random() < PRIVATE:
            self._write_privately(node)
            return
        oracle, keys = self._world.oracle, node.cluster.keys.spaces[node.cluster.public]
        wishes = [self._wish(node) for _ in range(self._rng.choice((1, 1, 2)))]
        writes = list({wish.content.key: wish for wish in wishes}.values())
        ids = [keys.memory_id(write.content.key) for write in writes]
        shown = [oracle.seen(node, memory) for memory in ids]
        for write, memory, seen, outcome in zip(writes, ids, shown, node.store.write(writes).result(), strict=True):
            if isinstance(outcome, CisError):
                self._world.count("writes_refused")
            elif outcome.dot is not None:
                self._world.count("writes")
                intent = oracle.ledger.intend(write.kind, write.content, outcome.dot, list(seen.values()))
                oracle.acknowledged(node, memory, outcome.dot, intent, seen)
                if self._world.scenario.vectors and self._rng.random() < self._world.scenario.vectors:
                    embed(node, write.content.key)

    def _wish(self, node: SimNode) -> Write:
        rng = self._rng
        self._values += 1
        kind, family = rng.choice(WISHES)
        key = f"{family}/{rng.randrange(self._keys)}"
        if kind is Kind.COUNT:
            content = Content(key, added=rng.randrange(9), subtracted=rng.randrange(3))
        elif kind is Kind.PUT and rng.random() < self._world.scenario.large:
            content = Content(key, (b"%d" % self._values).ljust(rng.randrange(*LARGE_BYTES), b"."))
        elif kind is Kind.PUT:
            content = Content(key, b"%d" % self._values)
        else:
            content = Content(key, b"%d" % rng.randrange(3))
        return Write(node.cluster.public, kind, content)

    def _write_privately(self, node: SimNode) -> None:
        self._values += 1
        key, value = f"private/{self._rng.randrange(3)}", b"%d" % self._values
        (outcome,) = node.store.write([Write(node.cluster.private, Kind.PUT, Content(key, value))]).result()
        assert not isinstance(outcome, CisError), outcome
        self._world.count("private_writes")
        self._world.oracle.shadows[node.number].private[key] = value

    def _broadcast(self) -> None:
        node = self._someone()
        if node is not None:
            self._world.count("broadcasts")
            node.broadcast()

    # --- faults ----------------------------------------------------------------------------------------------------

    def _partition(self) -> None:
        """Part the cluster in two, both ways or one way, for a while."""
        rng = self._rng
        numbers = [node.number for node in self._world.nodes]
        inside = set(rng.sample(numbers, rng.randrange(1, len(numbers))))
        directions = rng.choice(("both", "both", "in", "out"))
        self.separate(inside, directions, rng.uniform(0.5, 10.0))

    def separate(self, inside: Collection[int], directions: str, lasting_s: float) -> None:
        """Part some nodes from all others, both ways, or only what goes in or out."""
        network = self._world.network
        self._world.count("partitions")
        self._world.kernel.note("partition", sorted(inside), directions)
        for one in sorted(inside):
            for other in range(len(self._world.nodes)):
                if other not in inside:
                    if directions != "in":
                        network.block(one, other)
                    if directions != "out":
                        network.block(other, one)
        self._world.kernel.after(DETECTION_S, self._world.ways.notice_partitions)
        self._world.kernel.after(lasting_s, network.unblock_all)

    def _crash(self) -> None:
        node = self._someone()
        if node is None:
            return
        how = self._rng.choice(("at rest", "in a commit", "after a write"))
        if how == "in a commit":
            fail_next_commit(node.store, node.number)
            return
        if how == "after a write":
            self.write_at(node)
        self._world.crash(node, self._rng.uniform(0.2, 6.0))

    def _leave(self) -> None:
        """A node goes away for long."""
        node = self._someone()
        if node is not None:
            self._world.count("churn")
            node.report(events.Stopping())
            away_s = self._world.scenario.duration_s * self._rng.uniform(0.2, 0.6)
            node.later(0.2, lambda: self._world.crash(node, away_s))

    def _restore(self) -> None:
        """Copy a node's files; some time later it dies, and the copy is put back in their place."""
        node = self._someone()
        if node is None or node.number in self._backups:
            return
        self._backups.add(node.number)
        self._world.back_up(node)
        for _ in range(self._rng.choice((1, 2))):
            self._world.kernel.after(self._rng.uniform(1.0, 10.0), partial(self._put_back, node))

    def _put_back(self, node: SimNode) -> None:
        self._world.put_back(node)
        self._world.kernel.after(1.0, partial(self._begin_anew, node))

    def _begin_anew(self, node: SimNode) -> None:
        """Start a node whose disk was put back; now and then it writes before it has met anybody."""
        if not node.up:
            self._world.start(node)
            if self._rng.random() < 0.5:
                self.write_at(node)

    def _set_clock(self) -> None:
        node = self._someone()
        if node is not None:
            self._world.count("clock_jumps")
            node.skew_ms = self._rng.choice(SKEWS_MS)
            self._world.note("clock", node, node.skew_ms)

    def _keep(self) -> None:
        """A device leaves vectors or values to others from now on, or keeps everything."""
        node = self._someone()
        if node is not None:
            everything = self._rng.random() < KEEPING_ALL
            keep(node, Keep() if everything else self._rng.choice(POLICIES))

    def _cut(self) -> None:
        """A connection breaks."""
        wires = self._world.ways.wires
        if wires:
            self._world.count("cuts")
            self._rng.choice(wires).break_off()

    def _rest(self) -> None:
        node = self._someone()
        if node is not None:
            self._world.note("rests", node)
            node.store.rest()
            self._world.oracle.check_whole(node)

    def _evil(self) -> None:
        if self._world.byzantine is not None:
            self._world.byzantine.act()
