"""What is told of a memory that took another key when it was moved into another cluster (`cis.node.home.moving`)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Renamed:
    """A memory that is called otherwise since it was moved: the space and key it had, and its key now."""

    space: str
    key: str
    now: str
