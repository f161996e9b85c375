"""What membership entries lead to at a simulated node, and how its admin decides: as `cis.node.upkeep` does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import TYPE_CHECKING

from cis.model import NodeId
from cis.node.core import events
from cis.node.membership.cluster import Build, Changed
from cis.node.membership.governing import Governing, keys_wanting
from cis.node.upkeep import SPREAD_S

if TYPE_CHECKING:
    from cis.sim.node import SimNode

UPKEEP_S = 5.0
"""How often admins' nodes look after keys, beside whenever the membership changes."""


class Upkeep:
    """One life's; see the module."""

    def __init__(self, node: SimNode) -> None:
        self.learning = False
        """whether membership entries are just taking effect: then the store is still to follow"""
        self._node = node
        self._rng = Random(node.entropy(8))
        self._members: set[NodeId] = set()
        node.cluster.on_change(self._on_change)

    def begin(self) -> None:
        """Look for the members, and after keys."""
        self._members = {member.node for member in self._node.cluster.membership.members()}
        for target in self._node.sightings:
            self._node.report(events.Sighted(target))
        self._look_after_keys()

    def learn(self, entries: Iterable[bytes]) -> None:
        """Take in membership entries that others told; `PeerFault` for a bad one."""
        with self._learning():
            self._node.cluster.add_entries(entries, self._node.store)

    def govern(self, decide: Callable[[Governing], Build]) -> Changed:
        """Decide as an admin's user does; `Denied` and `UsageError` where that is not possible."""
        governing = Governing(self._node.cluster, self._node.identity, self._node.entropy, self._node.clock_ms)
        with self._learning():
            return self._node.cluster.issue(self._node.store, decide(governing))

    @contextlib.contextmanager
    def _learning(self) -> Iterator[None]:
        self.learning = True
        try:
            yield
        finally:
            self.learning = False
        self._node.world.changed(self._node)

    def _on_change(self, changed: Changed) -> None:
        """Part with who was removed, and tell the others what was decided here, as `cis.node.upkeep` does."""
        removed = {node: f"removed by {by}" for node, by in changed.removed.items() if node != self._node.id}
        if removed:
            self._node.report(events.Removed(removed))
        if changed.told_under is not None:
            self._node.telling.topics.tell_membership([entry.raw for entry in changed.entries], changed.told_under)
            self._node.report(events.Learned())
        for space in changed.spaces:
            self._node.report(events.SpaceStirred(space))
        if changed.withdrawn:
            self._node.later(0.0, self._node.recovering.after_withdrawal)
        self._sight_new_members()
        self._plan_keys()

    def _sight_new_members(self) -> None:
        """Who was let in again is found again: what was known of it went with its removal."""
        before, self._members = self._members, {member.node for member in self._node.cluster.membership.members()}
        for target in self._node.sightings:
            if target.node in self._members - before:
                self._node.report(events.Sighted(target))

    def _look_after_keys(self) -> None:
        self._plan_keys()
        self._node.later(UPKEEP_S * self._rng.uniform(0.5, 1.5), self._look_after_keys)

    def _plan_keys(self) -> None:
        """See to keys a little later, if still nobody has: rarely more than one admin acts."""
        if keys_wanting(self._node.cluster):
            self._node.later(self._rng.uniform(0.0, SPREAD_S * 3), self._see_to_keys)

    def _see_to_keys(self) -> None:
        if keys_wanting(self._node.cluster):
            self.govern(Governing.upkeep)
