"""What was wished for and what was acknowledged, and with that, what a store may show after a fault.

Of a memory it must show what was acknowledged last, or what was tried after that: a write that was under way, or
was refused when it may have reached the disk, may have come to pass. Of a counter, all that was acknowledged, and at
most all that was tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cis.model import ReplicaId

Value = bytes | None
"""None for nothing: deleted, or never written."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A memory was asked to become something; ``number`` names the wish, and grows."""

    number: int
    key: str
    value: Value


@dataclass(frozen=True, slots=True)
class Added:
    """A counter was asked to grow."""

    number: int
    key: str
    amount: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A wish was acknowledged as durable."""

    number: int


@dataclass(frozen=True, slots=True)
class Told:
    """This node's log was told to others up to a number."""

    replica: ReplicaId
    last: int


Mark = Tried | Added | Kept | Told


@dataclass
class Ledger:
    """Hears marks in order, and says what may be shown."""

    acknowledged: int = 0
    told: dict[ReplicaId, int] = field(default_factory=dict)
    _values: dict[str, list[tuple[int, Value]]] = field(default_factory=dict)
    """of each memory what may be shown, in the order it was asked for; the first is acknowledged"""
    _sums: dict[str, list[int]] = field(default_factory=dict)
    """of each counter what is acknowledged, and what was tried"""
    _open: dict[int, Tried | Added] = field(default_factory=dict)

    def hear(self, mark: Mark) -> None:
        """Take note."""
        match mark:
            case Tried(number, key, value):
                self._open[number] = mark
                self._values.setdefault(key, [(0, None)]).append((number, value))
            case Added(number, key, amount):
                self._open[number] = mark
                self._sums.setdefault(key, [0, 0])[1] += amount
            case Kept(number):
                self.acknowledged += 1
                self._keep(self._open.pop(number))
            case Told(replica, last):
                self.told[replica] = max(last, self.told.get(replica, 0))

    def _keep(self, wish: Tried | Added) -> None:
        if isinstance(wish, Added):
            self._sums[wish.key][0] += wish.amount
        else:
            allowed = self._values[wish.key]
            allowed[:] = [one for one in allowed if one[0] >= wish.number]

    @property
    def keys(self) -> list[str]:
        """All memories that were ever asked for."""
        return sorted(self._values)

    @property
    def counters(self) -> list[str]:
        """All counters that were ever asked for."""
        return sorted(self._sums)

    def lost(self, key: str, shown: Value) -> bool:
        """Tell whether a memory that is shown so has lost what was acknowledged, or is what nobody wrote."""
        return all(shown != value for _, value in self._values.get(key, ()))

    def miscounted(self, key: str, total: int) -> bool:
        """Tell whether a counter of that total is less than was acknowledged or more than was tried."""
        kept, tried = self._sums.get(key, (0, 0))
        return not kept <= total <= tried

    def uncertain(self) -> int:
        """Count what was tried and never acknowledged."""
        return len(self._open)


def settled(values: Mapping[str, Value], totals: Mapping[str, int]) -> Ledger:
    """Return what is to be expected from now on of a store that shows this."""
    return Ledger(
        _values={key: [(0, value)] for key, value in sorted(values.items())},
        _sums={key: [total, total] for key, total in sorted(totals.items())},
    )
