"""A cluster in virtual time: nodes, the links between them, and what is told to the oracle."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Self

from cis.node.bulletins.hearing import Message
from cis.peers import Target
from cis.sim.byzantine import Byzantine
from cis.sim.conversing import address_of
from cis.sim.disk import Crash, back_up, put_back, trust_power
from cis.sim.keeping import keep
from cis.sim.kernel import Kernel
from cis.sim.ledger import Ledger
from cis.sim.members import gather
from cis.sim.network import LinkProfile, Network
from cis.sim.node import SimNode
from cis.sim.oracle import Oracle
from cis.sim.scenarios import Chaos
from cis.sim.ways import Ways, drawn_acquaintances, drawn_profile
from cis.store.engine import Commit
from cis.store.keeping import Keep

EVIL_ADMIN = 0.4
"""In how many runs the Byzantine member is an admin."""
_MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 - a private folder is made in it


class World:
    """One run's cluster; `step` lets the next thing happen."""

    def __init__(self, scenario: Chaos, count: int, seed: int, folder: Path) -> None:
        self.scenario = scenario
        self.kernel = Kernel(seed)
        rng = self.kernel.rng
        self.members = gather(count - 1, rng, evil_admin=scenario.byzantine and rng.random() < EVIL_ADMIN)
        self.network = Network(self.kernel, drawn_profile(scenario.link, rng))
        self.counts: Counter[str] = Counter()
        self.ledger = Ledger()
        lies = scenario.byzantine and count > 2
        self.oracle = Oracle(self.ledger, self.members, count - 2 if lies else None)
        self.nodes = [
            SimNode(
                self,
                number,
                folder / f"m{number}",
                scenario.sync_interval_s,
                scenario.collect_s,
                collects=scenario.collects,
            )
            for number in range(count)
        ]
        self.ways = Ways(self.network, self.nodes, self.counts, self._inspect)
        self.byzantine = Byzantine(self, self.nodes[-2], folder) if lies else None
        self._defect: Exception | None = None
        for node, known in zip(self.nodes, drawn_acquaintances(scenario, count, rng), strict=True):
            node.sightings = tuple(Target(self.nodes[other].id, *address_of(other), "sim") for other in known)
            node.prepare(rng.choice((1, count // 2, count)))

    @property
    def honest(self) -> list[SimNode]:
        """The nodes that keep the rules."""
        return [node for node in self.nodes if node.honest]

    @property
    def writers(self) -> list[SimNode]:
        """The honest nodes whose users may write, as far as they know themselves."""
        return [node for node in self.honest if node.up and node.writes]

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

    def heal(self) -> None:
        """End every fault."""
        self.network.unblock_all()
        self.network.profile = LinkProfile()
        for node in self.nodes:
            node.skew_ms = 0
            if node.up:
                trust_power(node.store)
                if node.number % 2:
                    keep(node, Keep())  # who keeps everything again has everything in the end
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
            if node.honest:
                self.oracle.committed(node, commit)
            else:
                for segment in commit.written:
                    self.ledger.record(segment, node.number)
            node.told(commit)
        except Exception as defect:
            self._defect = defect  # the store keeps a listener's failure to itself
            raise

    def read(self, node: SimNode, message: Message) -> None:
        """A reader got a message."""
        self.counts["messages_read"] += 1
        if node.honest:
            self.oracle.read(node, message)

    def changed(self, node: SimNode) -> None:
        """Look at a node that is another, though no change was committed."""
        self.note("changed", node, len(node.cluster.membership.log.known))
        if node.honest:
            node.store.rest()  # what is due by its clock takes effect
            self.oracle.check(node)

    def blamed(self, node: SimNode, other: int, reason: str) -> None:
        """No honest node breaks the protocol."""
        self.counts["blamed"] += 1
        if node.honest and self.nodes[other].honest:
            self.oracle.found("accused", f"m{node.number} blames m{other}, which is honest: {reason}")

    def dial(self, node: SimNode, target: Target) -> None:
        """A node dials another."""
        self.ways.dial(node, target)

    def forge(self, node: SimNode, frame: bytes) -> bytes:
        """Return what the Byzantine member says instead."""
        assert self.byzantine is not None, node.number
        return self.byzantine.forge(frame)

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
