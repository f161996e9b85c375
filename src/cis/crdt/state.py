"""What is shown of a memory: its changes that no held change replaces, and the view users get of them."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cis.model import CHANGE_FUTURE_LIMIT_MS, Change, Dot, Kind, Ref, hlc_ms


def is_held(change: Change, now_ms: int) -> bool:
    """Tell whether the change is dated too far ahead to take effect yet."""
    return hlc_ms(change.hlc) > now_ms + CHANGE_FUTURE_LIMIT_MS


def effective(changes: Iterable[Change], now_ms: int) -> list[Change]:
    """Drop the changes that are held back because they are dated in the future."""
    return [change for change in changes if not is_held(change, now_ms)]


def replaces(ref: Ref, dot: Dot) -> bool:
    """Tell whether a reference covers the dot of a change of the same memory."""
    if ref.replica != dot.replica:
        return False
    return dot.seq <= ref.seq if ref.prefix else dot.seq == ref.seq


def alive(changes: Iterable[Change]) -> list[Change]:
    """Return the changes nobody replaces, in order of dot: the state, whatever the order of arrival."""
    unique = {change.dot: change for change in changes}
    exact: set[tuple[bytes, Dot]] = set()
    prefix: dict[tuple[bytes, bytes], int] = {}
    for change in unique.values():
        for ref in change.replaces:
            if ref.prefix:
                place = (change.memory, ref.replica)
                prefix[place] = max(prefix.get(place, 0), ref.seq)
            else:
                exact.add((change.memory, Dot(ref.replica, ref.seq)))
    return [
        change
        for dot, change in sorted(unique.items())
        if (change.memory, dot) not in exact and dot.seq > prefix.get((change.memory, dot.replica), 0)
    ]


class Policy(enum.StrEnum):
    """How concurrent values of a register are displayed; never what is stored."""

    CRDT = "crdt"
    VECTOR_CLOCK = "vector_clock"
    LWW = "lww"


class Shape(enum.StrEnum):
    """What a memory is, judged by its latest change."""

    REGISTER = "register"
    COUNTER = "counter"
    SET = "set"
    ABSENT = "absent"


_SHAPE = {Kind.PUT: Shape.REGISTER, Kind.COUNT: Shape.COUNTER, Kind.ADD: Shape.SET}


@dataclass(frozen=True, slots=True)
class View:
    """A memory as displayed: ``parts`` make the value shown, ``siblings`` are kept beside it.

    A register's one part is the change with the highest HLC, then replica. A counter's and a set's parts
    are all its changes. Siblings are concurrent puts, and changes of another type (a type conflict).
    """

    shape: Shape
    parts: tuple[Change, ...]
    siblings: tuple[Change, ...]

    @property
    def latest(self) -> Change:
        """The most recent of the parts; only of a memory that is not absent."""
        return max(self.parts, key=_rank)


def view(live: Sequence[Change], policy: Policy = Policy.CRDT) -> View:
    """Decide what is shown of a memory's live changes."""
    bearing = [change for change in live if change.kind in _SHAPE]
    if not bearing:
        return View(Shape.ABSENT, (), ())
    newest = max(bearing, key=_rank)
    shape = _SHAPE[newest.kind]
    parts = (newest,) if shape is Shape.REGISTER else tuple(c for c in bearing if c.kind is newest.kind)
    shown = {change.dot for change in parts}
    siblings = tuple(sorted((c for c in bearing if c.dot not in shown), key=_rank, reverse=True))
    return View(shape, parts, () if policy is Policy.LWW else siblings)


def _rank(change: Change) -> tuple[int, bytes, int]:
    return change.hlc, change.dot.replica, change.dot.seq
