"""Hybrid logical clock stamps (Kulkarni et al., OPODIS 2014) in 64 bits: 48 of milliseconds, 16 of counter.

Stamps order changes for display; they never decide what is stored. `cis.crdt.clock` makes them.
"""

from __future__ import annotations

from typing import NewType

Hlc = NewType("Hlc", int)

COUNTER_BITS = 16
COUNTER_MAX = (1 << COUNTER_BITS) - 1
MS_MAX = (1 << 47) - 1
"""One bit is left free, so that a stamp is a non-negative signed 64-bit integer in SQLite and numpy."""


def hlc(ms: int, counter: int = 0) -> Hlc:
    """Build a stamp from Unix milliseconds and a counter."""
    if not (0 <= ms <= MS_MAX and 0 <= counter <= COUNTER_MAX):
        raise ValueError(f"no HLC stamp holds {ms} ms with counter {counter}")
    return Hlc(ms << COUNTER_BITS | counter)


def hlc_ms(stamp: Hlc) -> int:
    """Return the physical part in Unix milliseconds."""
    return stamp >> COUNTER_BITS
