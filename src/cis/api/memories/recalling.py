"""What is shown of a memory at a moment: a value whose time to live has passed is as if it had not been written.

Of a register every value has a time of its own; a counter or a set lives as long as the latest of its changes says.
So a short-lived value hides no lasting one that was written beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING

from cis.crdt import Policy, Shape
from cis.model import Kind, hlc_ms

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cis.store.read import Part, Recalled

ID_BYTES = 6
SHAPES = {Kind.PUT: Shape.REGISTER, Kind.COUNT: Shape.COUNTER, Kind.ADD: Shape.SET}


@dataclass(frozen=True, slots=True)
class Value:
    """One of the values a memory has at once: a put, or all the changes that make a counter or a set."""

    shape: Shape
    parts: tuple[Part, ...]

    @property
    def latest(self) -> Part:
        """The part that speaks for category, tags, time and author."""
        return max(self.parts, key=_rank)

    @property
    def expires_ms(self) -> int:
        """Unix milliseconds from which the value is hidden, 0 for never."""
        about = self.latest.about
        return hlc_ms(self.latest.change.hlc) + about.ttl_ms if about and about.ttl_ms else 0

    @property
    def id(self) -> str:
        """The name of this very value, the same on all nodes."""
        return _name_of(self.parts)

    @property
    def elsewhere(self) -> bool:
        """Whether it is on other devices by choice."""
        return any(part.elsewhere for part in self.parts)

    def expired(self, now_ms: int) -> bool:
        """Tell whether its time to live has passed."""
        return 0 < self.expires_ms <= now_ms


def version_of(recalled: Recalled) -> str:
    """Return the name of all that is shown of a memory, its other values too: another after any change of them."""
    return _name_of((*recalled.parts, *recalled.siblings))


def values_of(recalled: Recalled) -> list[Value]:
    """Return the values a memory has at once, expired ones too, the one with the latest change first."""
    puts: list[Value] = []
    made: dict[Shape, list[Part]] = {}
    for part in (*recalled.parts, *recalled.siblings):
        shape = SHAPES[part.change.kind]
        if shape is Shape.REGISTER:
            puts.append(Value(shape, (part,)))
        else:
            made.setdefault(shape, []).append(part)
    values = [*puts, *(Value(shape, tuple(parts)) for shape, parts in made.items())]
    return sorted(values, key=lambda value: _rank(value.latest), reverse=True)


def current(recalled: Recalled | None, policy: Policy, now_ms: int) -> Recalled | None:
    """Return what is shown now of a memory that was recalled with all its siblings; None where all has expired."""
    if recalled is None:
        return None
    if not recalled.siblings:
        return None if recalled.expired(now_ms) else recalled
    living = [value for value in values_of(recalled) if not value.expired(now_ms)]
    if not living:
        return None
    shown, *others = living
    siblings = () if policy is Policy.LWW else tuple(part for other in others for part in other.parts)
    return replace(recalled, shape=shown.shape, parts=shown.parts, siblings=siblings)


def _name_of(parts: Iterable[Part]) -> str:
    digest = blake2b(digest_size=ID_BYTES, person=b"cis/1 value")
    for dot in sorted(part.change.dot for part in parts):
        digest.update(dot.replica + dot.seq.to_bytes(8, "big"))
    return digest.hexdigest()


def _rank(part: Part) -> tuple[int, bytes, int]:
    return part.change.hlc, part.change.dot.replica, part.change.dot.seq
