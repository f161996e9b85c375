"""A cluster in virtual time: nodes, the links between them, and what is told to the oracle."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Self

from cis.node import events
from cis.node.hearing import Message
from cis.peers import Target
from cis.sim.byzantine import Byzantine
from cis.sim.conversing import address_of, number_at
from cis.sim.disk import Crash, back_up, put_back, trust_power
from cis.sim.kernel import Kernel
from cis.sim.ledger import Ledger
from cis.sim.members import gather
from cis.sim.network import LinkProfile, Network
from cis.sim.node import SimNode
from cis.sim.oracle import Oracle
from cis.sim.scenarios import Chaos
from cis.sim.wires import Wire
from cis.store.engine import Commit

DIAL_TIMEOUT_S = 5.0
_MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 - a private folder is made in it


class World:
    """One run's cluster; `step` lets the next thing happen."""

    def __init__(self, scenario: Chaos, count: int, seed: int, folder: Path) -> None:
        self.scenario = scenario
        self.kernel = Kernel(seed)
        rng = self.kernel.rng
        self.members = gather(count - 1, rng)
        self.network = Network(self.kernel, self._profile(rng))
        self.counts: Counter[str] = Counter()
        self.ledger = Ledger()
        self.oracle = Oracle(self.ledger, count)
        self.nodes = [
            SimNode(self, number, folder / f"m{number}", scenario.sync_interval_s, scenario.collect_s)
            for number in range(count)
        ]
        self.byzantine = Byzantine(self, self.nodes[-2], folder) if scenario.byzantine and count > 2 else None
        self._defect: Exception | None = None
        self._wires: list[Wire] = []
        self._wire_numbers = 0
        for node, known in zip(self.nodes, self._neighbours(rng), strict=True):
            node.sightings = tuple(Target(self.nodes[other].id, *address_of(other), "sim") for other in known)
            node.prepare(rng.choice((1, count // 2, count)))

    def _profile(self, rng: Random) -> LinkProfile:
        terms = self.scenario.link
        return LinkProfile(
            terms.latency_s * rng.choice((0.1, 1, 1, 5)),
            terms.jitter_s,
            rng.uniform(0, terms.loss),
            rng.uniform(0, terms.duplication),
            rng.uniform(0, terms.reordering),
            terms.bandwidth_bytes_per_s * rng.choice((0.01, 1, 1)),
        )

    def _neighbours(self, rng: Random) -> list[list[int]]:
        """Choose whom each node knows of; whatever is drawn is connected."""
        count, everyone = len(self.nodes), range(len(self.nodes))
        known: list[set[int]] = [set() for _ in everyone]
        for one in everyone:
            if one + 1 < count:
                known[one].add(one + 1)
            if self.scenario.topology == "mesh":
                known[one] |= set(everyone)
            elif self.scenario.topology == "random":
                known[one] |= set(rng.sample(everyone, min(count, self.scenario.degree // 2 + 1)))
        return [sorted(others - {one}) for one, others in enumerate(known)]

    @property
    def honest(self) -> list[SimNode]:
        """The nodes that keep the rules."""
        return [node for node in self.nodes if node.honest]

    @property
    def writers(self) -> list[SimNode]:
        """The honest nodes whose users may write: the last member may only read."""
        return [node for node in self.nodes[:-1] if node.honest]

    @property
    def wires(self) -> list[Wire]:
        """The connections there are."""
        self._wires = [wire for wire in self._wires if not wire.broken]
        return self._wires

    def step(self) -> None:
        """Let the next planned thing happen; a node whose power goes is down afterwards."""
        try:
            self.kernel.step()
        except Crash as crash:
            self.crash(self.nodes[crash.number], 2.0)
        if self._defect is not None:
            raise self._defect

    # --- life and death of nodes -----------------------------------------------------------------------------------

    def start(self, node: SimNode) -> None:
        """Start a node, and look at what it has kept."""
        if not node.up:
            node.start()
            if node.honest:
                self.oracle.check_whole(node)
            self.note("starts", node)

    def crash(self, node: SimNode, down_s: float) -> None:
        """Crash a node; it comes back after a while."""
        if node.up:
            self.note("crashes", node)
            self.counts["crashes"] += 1
            node.crash()
            self.kernel.after(down_s, partial(self.start, node))

    def back_up(self, node: SimNode) -> None:
        """Copy a node's files."""
        self.note("is backed up", node)
        back_up(node.folder)
        if node.honest:
            self.oracle.backed_up(node)

    def put_back(self, node: SimNode) -> None:
        """Put the copied files of a node, which is down afterwards, in place of what it has."""
        self.note("is put back", node)
        self.counts["restores"] += 1
        if node.up:
            node.crash()
        put_back(node.folder)
        if node.honest:
            self.oracle.put_back(node, self.honest)

    def notice_partitions(self) -> None:
        """Connections across a partition that still stands break."""
        for wire in self.wires:
            one, other = (self.nodes[end.party.number] for end in wire.ends)
            if not self.reach(one, other):
                wire.break_off()

    def heal(self) -> None:
        """End every fault."""
        self.network.unblock_all()
        self.network.profile = LinkProfile()
        for node in self.nodes:
            node.skew_ms = 0
            if node.up:
                trust_power(node.store)
                node.store.rest()
            else:
                self.start(node)

    def note(self, what: str, node: SimNode, *more: object) -> None:
        """Add to the trace."""
        self.kernel.note(what, node.number, *more)

    # --- what nodes ask for ----------------------------------------------------------------------------------------

    def count(self, what: str) -> None:
        """Something happened."""
        self.counts[what] += 1

    def committed(self, node: SimNode, commit: Commit) -> None:
        """A transaction brought changes: tell the oracle first, then everybody else."""
        self.counts["commits"] += 1
        merged = sum(applied.changes for applied in commit.merged)
        self.note("commits", node, merged, [segment.signature.hex()[:8] for segment in commit.written])
        try:
            self._judge(node, commit)
            node.told(commit)
        except Exception as defect:
            self._defect = defect  # the store keeps a listener's failure to itself
            raise

    def _judge(self, node: SimNode, commit: Commit) -> None:
        if node.honest:
            self.oracle.committed(node, commit)
        else:
            for segment in commit.written:
                self.ledger.record(segment, node.number)

    def read(self, node: SimNode, message: Message) -> None:
        """A reader got a message."""
        self.counts["messages_read"] += 1
        if node.honest:
            self.oracle.read(node, message)

    def adopted(self, node: SimNode) -> None:
        """A node took over what another collected."""
        self.counts["adoptions"] += 1
        if node.honest:
            self.oracle.check(node)

    def blamed(self, node: SimNode, other: int, reason: str) -> None:
        """No honest node breaks the protocol."""
        self.counts["blamed"] += 1
        if node.honest and self.nodes[other].honest:
            self.oracle.found("accused", f"m{node.number} blames m{other}, which is honest: {reason}")

    def forge(self, node: SimNode, frame: bytes) -> bytes:
        """Return what the Byzantine member says instead."""
        assert self.byzantine is not None, node.number
        return self.byzantine.forge(frame)

    def dial(self, node: SimNode, target: Target) -> None:
        """Connect two nodes after a round trip, if both are there and can hear each other."""
        other = self.nodes[number_at(target.host)]
        profile = self.network.profile
        self.counts["dials"] += 1
        round_trip_s = 2 * (profile.latency_s + self.kernel.rng.uniform(0, profile.jitter_s))
        node.later(round_trip_s, lambda: self._connect(node, other, target))

    def reach(self, one: SimNode, other: SimNode) -> bool:
        """Tell whether packets pass both ways."""
        return self.network.reaches(one.number, other.number) and self.network.reaches(other.number, one.number)

    def _connect(self, node: SimNode, other: SimNode, target: Target) -> None:
        if not other.up or not self.reach(node, other):
            node.later(DIAL_TIMEOUT_S, lambda: node.report(events.DialFailed(target, "no answer")))
            return
        for judge, judged in ((other, node), (node, other)):
            chain = judged.cluster.membership.chain(judged.id)
            if judge.cluster.membership.judge(judged.id, chain) is not None:
                node.report(events.DialFailed(target, "not a member there"))
                return
        self._wire_numbers += 1
        ends = ((node.talk, node.talk.fresh_number()), (other.talk, other.talk.fresh_number()))
        wire = Wire(self._wire_numbers, self.network, ends, self._inspect)
        self._wires.append(wire)
        self.counts["connections"] += 1
        other.talk.adopt(wire.ends[1], None)
        node.talk.adopt(wire.ends[0], target)

    def _inspect(self, sender: int, frame: bytes) -> None:
        """Nothing private leaves a node."""
        if bytes(self.members.private) in frame:
            self.oracle.found("leaked", f"m{sender} sends what is private")
        if self.byzantine is not None:
            self.byzantine.overhear(sender, frame)

    # --- opening and closing ---------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        for node in self.nodes:
            node.honest = self.byzantine is None or node is not self.byzantine.node
            self.start(node)
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            if node.up:
                node.crash()
        if self.byzantine is not None:
            self.byzantine.close()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder in memory, where there is one, for the files of one run."""
    where = _MEMORY_FOLDER if _MEMORY_FOLDER.is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="cis-sim-", dir=where))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
