"""A clock for tests of operations."""

from __future__ import annotations


class Clock:
    """Unix milliseconds, set by the test."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def __call__(self) -> int:
        return self.ms
