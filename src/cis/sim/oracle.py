"""The judge of a run: an independent, naive model of what each node must show, compared at every commit.

A node claims, by its version vector, to hold certain changes. What it shows must be just those of them that took
effect by its clock and that no other such change names. Claims never shrink; nothing is claimed that its author
did not write or had no right to write. `cis.sim.judgement` has the last word.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING

from cis.model import CHANGE_FUTURE_LIMIT_MS, Dot, Kind, MemoryId, ReplicaId, VersionVector
from cis.sim.ledger import BEARING, Fact, Intent, Ledger, alive

if TYPE_CHECKING:
    from cis.node.hearing import Message
    from cis.sim.node import SimNode
    from cis.store.engine import Commit
    from cis.store.read import Reader

WRONGS = (
    "divergences",
    "lost",
    "resurrected",
    "unauthorised",
    "duplicates",
    "leaked",
    "disordered",
    "accused",
    "defects",
)
"""What can be found; `Wrong.kind` is one of these. A defect is an exception nobody expected."""


@dataclass(frozen=True)
class Wrong:
    """A rule broken: which, where, and what was seen."""

    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


@dataclass
class Shadow:
    """What one node must be like, by the changes it claims."""

    holds: VersionVector = field(default_factory=VersionVector)
    claims: VersionVector = field(default_factory=VersionVector)
    """what it holds, and what lies below its stable floor: of that it knows by comparison what has ended"""
    floor: VersionVector = field(default_factory=VersionVector)
    owes: bool = False
    """whether it has yet to compare again since it took over a floor"""
    effective: dict[MemoryId, dict[Dot, Fact]] = field(default_factory=dict)
    waiting: list[Fact] = field(default_factory=list)
    """claimed, but dated too far ahead to take effect"""
    unseen: set[Dot] = field(default_factory=set)
    """claimed with a floor, of a forked log: which branch it is shows when it comes"""
    acknowledged: set[Dot] = field(default_factory=set)
    private: dict[str, bytes] = field(default_factory=dict)

    @property
    def catching_up(self) -> bool:
        """Tell whether part of what lies below its floor is still to come, or to be compared."""
        return self.owes or next(self.claims.missing_in(self.holds), None) is not None

    def shown(self, memory: MemoryId, now_ms: int) -> dict[Dot, Fact]:
        """Return what is alive of a memory at that time, tombstones included."""
        due = [one for one in self.waiting if one.memory == memory and self._counts(one, now_ms)]
        return alive(self._held([*self.effective.get(memory, {}).values(), *due]))

    def living(self, memory: MemoryId) -> tuple[set[Dot], set[Dot]]:
        """Return what must be shown of a memory now, and what may be.

        More may be while it is catching up: what lies below the floor, and has ended, may have come as a leaf alone.
        """
        known = list(self.effective.get(memory, {}).values())
        held = {one.dot: one for one in self._held(known) if one.kind in BEARING}
        least = {dot for dot in alive(known) if dot in held}
        if not self.catching_up:
            return least, least
        told = [one for one in self._held(known) if one.dot.seq > self.floor.contiguous(one.dot.replica)]
        return least, {dot for dot, one in held.items() if dot in alive([one, *told])}

    def _counts(self, fact: Fact, now_ms: int) -> bool:
        """Tell whether a change takes effect: below the floor it did everywhere, whatever the clock here shows."""
        return _in_effect(fact, now_ms) or fact.dot.seq <= self.floor.contiguous(fact.dot.replica)

    def _held(self, facts: Iterable[Fact]) -> list[Fact]:
        return [one for one in facts if one.dot in self.holds]

    def take(self, facts: Iterable[Fact], now_ms: int) -> set[MemoryId]:
        """Take in what is newly claimed, and let what has waited take effect; returns the memories it touches."""
        touched = set()
        waiting = [*self.waiting, *facts]
        self.waiting = [one for one in waiting if not self._counts(one, now_ms)]
        for one in waiting:
            if self._counts(one, now_ms):
                self.effective.setdefault(one.memory, {})[one.dot] = one
            touched.add(one.memory)
        return touched


class Oracle:
    """Fed by the world; what it finds stands in ``wrongs``."""

    def __init__(self, ledger: Ledger, count: int) -> None:
        self.ledger = ledger
        self.shadows = [Shadow() for _ in range(count)]
        self.wrongs: list[Wrong] = []
        self._backups: dict[int, Shadow] = {}
        self.orphans: set[Dot] = set()
        self._read_up_to: dict[tuple[int, int, bytes], int] = {}

    def found(self, kind: str, text: str) -> None:
        """Record a broken rule."""
        assert kind in WRONGS, kind
        self.wrongs.append(Wrong(kind, text))

    # --- at every step ---------------------------------------------------------------------------------------------

    def committed(self, node: SimNode, commit: Commit) -> None:
        """A transaction has brought something: learn what was written, and look at the node."""
        now_ms = node.clock_ms()
        for segment in commit.written:
            if segment.space == node.cluster.public:
                for fact in self.ledger.record(segment, node.number):
                    if fact.ms > now_ms + CHANGE_FUTURE_LIMIT_MS:
                        self.found("disordered", f"m{node.number} dates a change beyond its own clock's reach")
        self.check(node)

    def check(self, node: SimNode) -> None:
        """Compare what has changed of the node since it was last looked at."""
        shadow, reader, now_ms = self.shadows[node.number], node.store.reader, node.clock_ms()
        shadow.holds, shadow.floor = reader.vector(node.cluster.public), reader.floor(node.cluster.public)
        shadow.owes = reader.owes(node.cluster.public)
        claims = shadow.holds.join(shadow.floor)
        for replica, first, last in shadow.claims.missing_in(claims):
            if replica not in self.ledger.forked:
                self.found("lost", f"m{node.number} no longer holds {name(replica, first)}..{last}")
        fresh = self.facts(node, reader, shadow.claims, claims)
        shadow.claims = claims
        for memory in sorted(shadow.take(fresh, now_ms)):
            self._compare(node, reader, memory)

    def check_whole(self, node: SimNode) -> None:
        """Look at everything: after a restart, and in the end."""
        shadow = self.shadows[node.number]
        self.check(node)
        for memory in sorted(shadow.effective):
            self._compare(node, node.store.reader, memory)
            self._recall(node, memory)
        for dot in sorted(shadow.acknowledged):
            if dot not in shadow.claims:
                self.found("lost", f"m{node.number} acknowledged {name(*dot)} and does not hold it")
        for key, value in sorted(shadow.private.items()):
            recalled = node.store.reader.recall(node.cluster.private, key)
            content = None if recalled is None else recalled.latest.content
            if content is None or content.value != value:
                self.found("lost", f"m{node.number} lost the private memory {key}")

    def seen(self, node: SimNode, memory: MemoryId) -> dict[Dot, Fact]:
        """Return what a user of the node sees alive of a memory, tombstones included."""
        shadow = self.shadows[node.number]
        shown = shadow.shown(memory, node.clock_ms())
        if not shadow.catching_up:
            return shown
        alive_there = {one.change.dot for one in node.store.reader.rows.live(memory)}
        return {dot: one for dot, one in shown.items() if dot in alive_there}

    def acknowledged(self, node: SimNode, memory: MemoryId, dot: Dot, intent: Intent, before: set[Dot]) -> None:
        """A write was acknowledged: ``before`` was alive of the memory then, ``intent.over`` is what it replaces."""
        shadow = self.shadows[node.number]
        shadow.acknowledged.add(dot)
        self.ledger.mean(dot, intent)
        if dot not in shadow.claims:
            self.found("lost", f"m{node.number} acknowledged {name(*dot)} and does not hold it")
        if dot not in shadow.claims or shadow.catching_up:
            return
        floor = node.store.reader.floor(node.cluster.public)
        living = shadow.effective[memory]
        wanted, found = (before - intent.over) | {dot}, set(shadow.shown(memory, node.clock_ms()))
        unread = {one for one in found & intent.over if self.ledger.is_named(living[one])}
        collected = {
            one
            for one in found & intent.over
            if living[one].kind not in BEARING and one.seq <= floor.contiguous(one.replica)
        }
        if wanted | unread | collected != found:
            names = ", ".join(name(*one) for one in sorted(wanted ^ found))
            self.found("divergences", f"m{node.number}: {name(*dot)} replaces other than its author saw: {names}")

    def facts(self, node: SimNode, reader: Reader, old: VersionVector, new: VersionVector) -> list[Fact]:
        """Look up what is newly claimed."""
        facts, unseen = [], self.shadows[node.number].unseen
        claimed = [Dot(replica, seq) for replica, first, last in new.missing_in(old) for seq in range(first, last + 1)]
        for dot in [*sorted(unseen), *claimed]:
            known = self.ledger.facts.get(dot, [])
            fact = known[0] if len(known) == 1 else self._chosen(node, reader, known)
            unseen.discard(dot)
            if fact is None and dot.replica in self.ledger.forked:
                unseen.add(dot)
            elif fact is None:
                self.found("unauthorised", f"m{node.number} holds {name(*dot)}, which nobody wrote")
            elif not fact.sound:
                self.found("unauthorised", f"m{node.number} took in {name(*dot)} of a member without the right")
            else:
                self._require_written(node, reader, fact, new)
                facts.append(fact)
        return facts

    def _require_written(self, node: SimNode, reader: Reader, fact: Fact, claims: VersionVector) -> None:
        """What a node holds must be what was written, and follow what it followed."""
        (first, last), replica = fact.place, fact.dot.replica
        if fact.dot.seq != last:
            return
        floor = reader.floor(node.cluster.public).contiguous(replica)
        link = self._link(node, reader, replica, last)
        if link is None and last > floor:
            self.found("lost", f"m{node.number} claims {name(replica, last)} and does not hold it")
        elif link not in {None, fact.link}:
            self.found("unauthorised", f"m{node.number} holds another {name(replica, last)} than was written")
        if first > 1 and claims.contiguous(replica) >= last:
            before = self._link(node, reader, replica, first - 1)
            if before != fact.previous and (before is not None or first - 1 > floor):
                self.found("divergences", f"m{node.number} took in both branches of a fork at {name(replica, first)}")

    def _link(self, node: SimNode, reader: Reader, replica: ReplicaId, seq: int) -> bytes | None:
        return reader.link_at(node.cluster.public, replica, seq)

    def _chosen(self, node: SimNode, reader: Reader, known: Sequence[Fact]) -> Fact | None:
        """Tell which of two contents of one dot a node holds; None where the dot lies inside a changeset."""
        return next((one for one in known if self._link(node, reader, *one.dot) == one.link), None)

    def _compare(self, node: SimNode, reader: Reader, memory: MemoryId) -> None:
        shadow = self.shadows[node.number]
        held = shadow.effective.get(memory, {})
        if any(dot.replica in self.ledger.forked for dot in held):
            return
        least, most = shadow.living(memory)
        shown = {one.change.dot for one in reader.rows.live(memory) if one.change.kind in BEARING}
        for dot in sorted(least - shown):
            if not (shadow.catching_up and self._ended(held[dot])):
                self.found("lost", f"m{node.number} holds {name(*dot)}, which nothing replaces, and does not show it")
        for dot in sorted(shown - most):
            kind = "resurrected" if dot in held else "divergences"
            self.found(kind, f"m{node.number} shows {name(*dot)}, which {self._why(held, dot)}")

    def _ended(self, fact: Fact) -> bool:
        """Tell whether a change was replaced by one below somebody's floor: who catches up may hear of that first."""
        stable = reduce(VersionVector.join, (shadow.floor for shadow in self.shadows))
        known = [one for one in self.ledger.of_memory(fact.memory) if one.dot in stable]
        return fact.dot not in alive([fact, *known])

    def _recall(self, node: SimNode, memory: MemoryId) -> None:
        """Read a memory as a user does, and compare with what was written."""
        held = self.shadows[node.number].effective[memory]
        if self.shadows[node.number].catching_up:
            return
        living = [held[dot] for dot in self.shadows[node.number].living(memory)[1]]
        if any(one.dot not in self.ledger.intents for one in held.values()):
            return  # the Byzantine member's own
        recalled = node.store.reader.recall_by_id(memory, node.cluster.public)
        parts = {} if recalled is None else {part.change.dot: part.content for part in recalled.parts}
        beside = {} if recalled is None else {part.change.dot: part.content for part in recalled.siblings}
        newest = max(living, key=lambda one: (one.stamp, one.dot), default=None)
        wanted = {one.dot for one in living if newest is not None and one.kind is newest.kind is not Kind.PUT}
        wanted |= {newest.dot} if newest is not None else set()
        if set(parts) != wanted or set(beside) != {one.dot for one in living} - wanted:
            self.found("divergences", f"m{node.number} reads another memory than it holds: {sorted(parts)}")
        for dot, content in sorted({**parts, **beside}.items()):
            if content is None and self.ledger.is_named(held[dot]):
                continue  # whoever sent it knew what replaces it, which has not come yet, or is held back
            if content is None or not self.ledger.intents[dot].reads(content):
                self.found("lost", f"m{node.number} shows {name(*dot)} without what was written")

    def _why(self, held: dict[Dot, Fact], dot: Dot) -> str:
        if dot not in held:
            return "it does not claim to hold, or which has not taken effect"
        over = [one for one in held.values() if dot not in alive([held[dot], one])]
        return "is replaced by " + ", ".join(f"{one.kind.name.lower()} {name(*one.dot)}" for one in over)

    def read(self, node: SimNode, message: Message) -> None:
        """A reader got a message: once, and after those its author told before it."""
        run, number = message.payload.split()
        place = (node.number, node.lives, run)
        last = self._read_up_to.get(place, 0)
        if int(number) == last:
            self.found("duplicates", f"m{node.number} was given a message of {run.decode()} twice: {last}")
        elif int(number) < last:
            self.found("disordered", f"m{node.number} was given {int(number)} of {run.decode()} after {last}")
        self._read_up_to[place] = max(last, int(number))

    # --- disks lost ------------------------------------------------------------------------------------------------

    def backed_up(self, node: SimNode) -> None:
        """The node's files were copied."""
        self._backups[node.number] = copy.deepcopy(self.shadows[node.number])

    def put_back(self, node: SimNode, others: Iterable[SimNode]) -> None:
        """The copied files were put back: what only they held since is excused."""
        old = self.shadows[node.number]
        new = self.shadows[node.number] = copy.deepcopy(self._backups[node.number])
        elsewhere = [self.shadows[other.number].claims for other in others if other is not node]
        for replica, first, last in old.claims.missing_in(new.claims):
            dots = [Dot(replica, seq) for seq in range(first, last + 1)]
            self.orphans.update(dot for dot in dots if not any(dot in claims for claims in elsewhere))


def name(replica: ReplicaId, seq: int) -> str:
    """A dot, short enough to read."""
    return f"{replica[:2].hex()}'{replica[-2:].hex()}:{seq}"


def _in_effect(fact: Fact, now_ms: int) -> bool:
    return fact.ms <= now_ms + CHANGE_FUTURE_LIMIT_MS


assert Kind.DELETE not in BEARING
