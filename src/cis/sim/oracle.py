"""The judge of a run: an independent, naive model of what each node must show, compared at every commit.

A node claims, by its version vector, to hold certain changes. What it shows must be just those of them that took
effect by its clock and that no other such change names. Claims never shrink; nothing is claimed that its author
did not write or had no right to write. `cis.sim.judgement` has the last word.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import TYPE_CHECKING

from cis.model import CHANGE_FUTURE_LIMIT_MS, Dot, Kind, MemoryId, ReplicaId, VersionVector
from cis.sim.law import Law
from cis.sim.ledger import BEARING, Fact, Intent, Ledger, alive, name
from cis.sim.members import Members
from cis.sim.membership_judge import MembershipJudge
from cis.sim.recalling import may_be_late, recall
from cis.store.read import stable

if TYPE_CHECKING:
    from cis.node.bulletins.hearing import Message
    from cis.sim.node import SimNode
    from cis.store.engine import Commit
    from cis.store.read import Reader

WRONGS = (
    "divergences",
    "lost",
    "resurrected",
    "accepted",
    "duplicates",
    "leaked",
    "disordered",
    "accused",
    "defects",
)
"""What can be found; `Wrong.kind` is one of these.

Accepted is what was taken in that nobody wrote, or that its author had no right to. A defect is an exception nobody
expected.
"""

_BY_VALUE = (Kind.ADD, Kind.REMOVE)
"""What these replace depends on what the others say: those that cannot be read here stay."""


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
    stable: VersionVector = field(default_factory=VersionVector)
    """the part of the floor that all members reported to have"""
    owes: bool = False
    """whether it has yet to compare again since it took over a floor"""
    effective: dict[MemoryId, dict[Dot, Fact]] = field(default_factory=dict)
    waiting: list[Fact] = field(default_factory=list)
    """claimed, but dated too far ahead to take effect"""
    unseen: set[Dot] = field(default_factory=set)
    """claimed with a floor: of a forked log, which branch it is shows when it comes; or void, and not to come"""
    acknowledged: set[Dot] = field(default_factory=set)
    """what its users were promised, but for what a removal took back: should that turn out void, it may be gone"""
    lawful: frozenset[bytes] = frozenset()
    """the membership entries by which it was judged last"""
    ends: dict[ReplicaId, int] = field(default_factory=dict)
    """where logs were cut off by the entries that came last"""
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

    def give_up(self, facts: Iterable[Fact]) -> None:
        """Forget what was cut off."""
        gone = {one.dot for one in facts}
        for one in facts:
            self.effective.get(one.memory, {}).pop(one.dot, None)
        self.waiting = [one for one in self.waiting if one.dot not in gone]
        self.unseen = {dot for dot in self.unseen if dot.seq < self.ends.get(dot.replica, dot.seq + 1)}
        self.claims = _shortened(self.claims, self.ends)

    def unclaim(self, claims: VersionVector, forked: Collection[ReplicaId]) -> None:
        """Forget what was claimed for a floor that was given up, and had not come: when it comes, its date counts."""
        if next(self.claims.missing_in(claims), None) is not None:
            known = [*self.waiting, *(one for of in self.effective.values() for one in of.values())]
            self.give_up([one for one in known if one.dot not in claims and one.dot.replica not in forked])
            self.unseen = {dot for dot in self.unseen if dot in claims}
            self.claims = claims

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

    def __init__(self, ledger: Ledger, members: Members, liar: int | None) -> None:
        self.ledger = ledger
        self._members = {one.node: number for number, one in enumerate(members.identities) if number != liar}
        self.membership = MembershipJudge(members.cluster, members.public, ledger, self.found)
        self.shadows = [Shadow() for _ in members.identities]
        self._held = [VersionVector() for _ in members.identities]
        """all that each node ever claimed"""
        self.wrongs: list[Wrong] = []
        self._backups: dict[int, Shadow] = {}
        self.orphans: set[Dot] = set()
        """lost with a disk when nobody else held them"""
        self.restored: set[int] = set()
        """nodes whose files were put back once"""
        self.risked: set[Dot] = set()
        """lost with a disk, whoever else held them"""
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
                facts = self.ledger.record(segment, node.number)
                self.membership.written(node, facts)
                for dot in self.ledger.repeated(facts):
                    self.found("divergences", f"m{node.number} writes {name(*dot)} again, and otherwise")
                if any(fact.ms > now_ms + CHANGE_FUTURE_LIMIT_MS for fact in facts):
                    self.found("disordered", f"m{node.number} dates a change beyond its own clock's reach")
        if not node.upkeep.learning:
            self.check(node)

    def check(self, node: SimNode) -> None:
        """Compare what has changed of the node since it was last looked at."""
        shadow, reader, now_ms = self.shadows[node.number], node.store.reader, node.clock_ms()
        held, fallen = shadow.holds, shadow.floor
        shadow.holds, shadow.floor = reader.vector(node.cluster.public), reader.floor(node.cluster.public)
        shadow.stable, shadow.owes = stable(reader, node.cluster.public), reader.owes(node.cluster.public)
        claims = shadow.holds.join(self.ledger.written_of(shadow.floor))
        self._held[node.number] = self._held[node.number].join(claims)
        touched = self._withdrawn(node, shadow)
        for replica, first, last in _shortened(held, shadow.ends).missing_in(claims):
            if replica not in self.ledger.forked:
                self.found("lost", f"m{node.number} no longer holds {name(replica, first)}..{last}")
        floor = self.ledger.written_of(fallen.meet(shadow.floor))
        shadow.unclaim(_shortened(held, shadow.ends).join(floor), self.ledger.forked)
        fresh = self.facts(node, reader, shadow.claims, claims)
        shadow.claims = claims
        for memory in sorted(touched | shadow.take(fresh, now_ms)):
            self._compare(node, reader, memory)

    def _withdrawn(self, node: SimNode, shadow: Shadow) -> set[MemoryId]:
        """Take back, where the membership has changed, what it no longer lets stand; returns the memories touched."""
        law = self.membership.law(node)
        lawful = frozenset(item.id for item in law.items)
        if lawful == shadow.lawful:
            shadow.ends = {}
            return set()
        shadow.lawful, shadow.ends = lawful, {}
        known = [*shadow.waiting, *(one for of in shadow.effective.values() for one in of.values())]
        ends: dict[ReplicaId, int] = {}
        for fact in sorted(known, key=lambda one: one.dot):
            if fact.dot.replica not in ends and self.is_void(node, fact):
                ends[fact.dot.replica] = fact.place[0]
        gone = [one for one in known if one.dot.seq >= ends.get(one.dot.replica, one.dot.seq + 1)]
        for fact in gone:
            if fact.dot in shadow.holds and fact.dot.replica not in self.ledger.forked:
                self.found("accepted", f"m{node.number} keeps {name(*fact.dot)}, which is cut off")
        shadow.ends = ends
        shadow.give_up(gone)
        shadow.acknowledged.difference_update(fact.dot for fact in gone)
        return {fact.memory for fact in gone}

    def is_void(self, node: SimNode, fact: Fact) -> bool:
        """Tell whether a change counts for nothing by what a node knows; what all have had goes on counting."""
        (first, last), replica = fact.place, fact.dot.replica
        law = self.membership.law(node)
        if not law.voids(node.cluster.public, replica, last, fact.authority):
            return False
        return not (first <= self.shadows[node.number].stable.contiguous(replica) and self._had_by_all(law, fact))

    def _had_by_all(self, law: Law, fact: Fact) -> bool:
        """Tell whether every member a node knows of held a change at some time, so that it may count as stable."""
        return all(fact.dot in self._held[self._members[node]] for node in law.roles if node in self._members)

    def check_whole(self, node: SimNode, *, to_the_end: bool = False) -> None:
        """Look at everything: after a restart, and in the end."""
        shadow = self.shadows[node.number]
        self.check(node)
        for memory in sorted(shadow.effective):
            self._compare(node, node.store.reader, memory)
            recall(self, node, memory, to_the_end=to_the_end)
        for dot in sorted(shadow.acknowledged):
            if dot not in shadow.claims and not self.is_forgone(node, dot):
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
        due = {one.dot for one in shadow.waiting}  # they take effect with the write itself
        return {dot: one for dot, one in shown.items() if dot in alive_there | due}

    def acknowledged(
        self, node: SimNode, memory: MemoryId, dot: Dot, intent: Intent, before: Mapping[Dot, Fact]
    ) -> None:
        """A write was acknowledged: ``before`` was alive of the memory then, ``intent.over`` is what it replaces."""
        shadow = self.shadows[node.number]
        shadow.acknowledged.add(dot)
        living, found = shadow.effective.get(memory, {}), set(shadow.shown(memory, node.clock_ms()))
        replaces_values = dot in living and living[dot].kind in _BY_VALUE
        unread = {
            one
            for one in found & intent.over
            if replaces_values and may_be_late(self, node, living[one], to_the_end=False)
        }
        self.ledger.mean(dot, replace(intent, over=intent.over - unread), before.values())
        if dot not in shadow.claims:
            self.found("lost", f"m{node.number} acknowledged {name(*dot)} and does not hold it")
        if dot not in shadow.claims or shadow.catching_up:
            return
        floor = node.store.reader.floor(node.cluster.public)
        wanted = (before.keys() - intent.over) | {dot}
        collected = {
            one for one in found if living[one].kind not in BEARING and one.seq <= floor.contiguous(one.replica)
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
            told_only = dot not in self.shadows[node.number].holds
            if known and (fact is None or (told_only and self.is_void(node, fact))):
                unseen.add(dot)
            elif fact is None:
                self.found("accepted", f"m{node.number} holds {name(*dot)}, which nobody wrote")
            elif self.is_void(node, fact):
                self.found(
                    "accepted", f"m{node.number} took in {name(*dot)}, which m{fact.author} had no right to write"
                )
            else:
                self.ledger.taken(fact)
                self._require_written(node, reader, fact)
                facts.append(fact)
        return facts

    def _require_written(self, node: SimNode, reader: Reader, fact: Fact) -> None:
        """What a node holds must be what was written, and follow what it followed."""
        (first, last), replica = fact.place, fact.dot.replica
        if fact.dot.seq != last:
            return
        floor = reader.floor(node.cluster.public).contiguous(replica)
        link = self._link(node, reader, replica, last)
        if link is None and last > floor:
            self.found("lost", f"m{node.number} claims {name(replica, last)} and does not hold it")
        elif link not in {None, fact.link}:
            self.found("accepted", f"m{node.number} holds another {name(replica, last)} than was written")
        if first > 1 and self.shadows[node.number].holds.contiguous(replica) >= last:
            before = self._link(node, reader, replica, first - 1)
            if before != fact.previous and (before is not None or first - 1 > floor):
                self.found("divergences", f"m{node.number} took in both branches of a fork at {name(replica, first)}")

    def _link(self, node: SimNode, reader: Reader, replica: ReplicaId, seq: int) -> bytes | None:
        return reader.link_at(node.cluster.public, replica, seq)

    def _chosen(self, node: SimNode, reader: Reader, known: Sequence[Fact]) -> Fact | None:
        """Tell which of several contents of one dot a node holds; None where it holds none yet."""
        return next((one for one in known if self._link(node, reader, one.dot.replica, one.place[1]) == one.link), None)

    def is_forgone(self, node: SimNode, dot: Dot) -> bool:
        """Tell whether a write was cut off by what a node knows."""
        law = self.membership.law(node)
        return any(
            law.voids(node.cluster.public, dot.replica, one.place[1], one.authority) for one in self.ledger.facts[dot]
        )

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
            self.found(kind, f"m{node.number} shows {name(*dot)}, which {_why(held, dot)}")

    def _ended(self, fact: Fact) -> bool:
        """Tell whether a change was replaced by one below somebody's floor: who catches up may hear of that first."""
        stable = reduce(VersionVector.join, (shadow.floor for shadow in self.shadows))
        known = [one for one in self.ledger.of_memory(fact.memory) if one.dot in stable]
        return fact.dot not in alive([fact, *known])

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
        self.restored.add(node.number)
        elsewhere = [self.shadows[other.number].claims for other in others if other is not node]
        for replica, first, last in old.claims.missing_in(new.claims):
            dots = [Dot(replica, seq) for seq in range(first, last + 1)]
            self.risked.update(dots)
            self.orphans.update(dot for dot in dots if not any(dot in claims for claims in elsewhere))


def _why(held: dict[Dot, Fact], dot: Dot) -> str:
    if dot not in held:
        return "it does not claim to hold, or which has not taken effect"
    over = [one for one in held.values() if dot not in alive([held[dot], one])]
    return "is replaced by " + ", ".join(f"{one.kind.name.lower()} {name(*one.dot)}" for one in over)


def _shortened(vector: VersionVector, ends: Mapping[ReplicaId, int]) -> VersionVector:
    """Return a vector without what lies at these numbers or beyond."""
    seqs = {one: min(seq, ends.get(one, seq + 1) - 1) for one, seq in vector.seqs.items()}
    beyond = {
        one: tuple(
            (first, min(last, ends.get(one, last + 1) - 1)) for first, last in of if first < ends.get(one, last + 1)
        )
        for one, of in vector.beyond.items()
    }
    return VersionVector(seqs, {one: of for one, of in beyond.items() if of})


def _in_effect(fact: Fact, now_ms: int) -> bool:
    return fact.ms <= now_ms + CHANGE_FUTURE_LIMIT_MS


assert Kind.DELETE not in BEARING
