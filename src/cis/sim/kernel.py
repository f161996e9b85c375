"""The virtual clock: what is planned happens in order of time, ties in order of planning; nothing else moves.

Everything random in a run comes from `Kernel.rng`, so that a seed is a run. The trace is a running hash of what
was noted: two runs of one seed and one commit end with the same.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from hashlib import blake2b
from random import Random

Action = Callable[[], None]


class Plan:
    """Something planned; `cancel` takes it back."""

    __slots__ = ("action",)

    def __init__(self, action: Action) -> None:
        self.action: Action | None = action

    def cancel(self) -> None:
        """Take it back; harmless once it has happened."""
        self.action = None


class Kernel:
    """One run of virtual time, from 0, in seconds."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.rng = Random(seed)
        self.happened = 0
        """how many plans came true"""
        self._plans: list[tuple[float, int, Plan]] = []
        self._numbers = itertools.count()
        self._trace = blake2b(digest_size=16)

    def at(self, when: float, action: Action) -> Plan:
        """Plan an action for a time, at once where that has passed."""
        plan = Plan(action)
        heapq.heappush(self._plans, (max(when, self.now), next(self._numbers), plan))
        return plan

    def after(self, delay_s: float, action: Action) -> Plan:
        """Plan an action for a while from now."""
        return self.at(self.now + delay_s, action)

    def step(self) -> bool:
        """Let the next planned action happen; False when nothing is planned."""
        while self._plans:
            when, _, plan = heapq.heappop(self._plans)
            if plan.action is not None:
                self.now = when
                self.happened += 1
                action, plan.action = plan.action, None
                action()
                return True
        return False

    def run_until(self, when: float) -> None:
        """Let everything up to a time happen; the clock stands there afterwards."""
        while self._plans and self._plans[0][0] <= when:
            self.step()
        self.now = max(self.now, when)

    def note(self, *facts: object) -> None:
        """Add to the trace what happened, as text."""
        self._trace.update(f"{self.now:.9f} {facts}\n".encode())

    @property
    def trace(self) -> str:
        """The hash of all that was noted so far."""
        return self._trace.hexdigest()
