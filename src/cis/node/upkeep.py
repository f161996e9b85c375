"""What a running node does when the membership or its access list has changed, and what admins' nodes see to.

Who is no member is parted with at once, what was decided here is told to all, and where keys must be renewed or handed
out, the nodes of admins do so. Each waits a random while first and looks again, so that rarely more than one acts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from random import Random

from cis.errors import CisError, Fault
from cis.model import SpaceId
from cis.node.bulletins.topics import Topics
from cis.node.core import events
from cis.node.home.local import LocalNode
from cis.node.meeting import REMOVED, REMOVED_BY, Meeting
from cis.node.membership.cluster import Changed
from cis.node.membership.governing import keys_wanting
from cis.trust.acl import REFUSAL, Access
from cis.wire.membership import Role, Rotate

_log = logging.getLogger(__name__)

ROUND_S = 600.0
SPREAD_S = 0.5
"""For each admin there is, how long one may wait for another to act first."""


class Upkeep:
    """Belongs to the loop's thread, but for what the cluster tells it."""

    def __init__(
        self,
        local: LocalNode,
        topics: Topics,
        meeting: Meeting,
        report: Callable[[events.Event], None],
        recover: Callable[[int], None],
        rng: Random,
    ) -> None:
        """Make one; ``recover`` has bodies fetched that changes had replaced which were withdrawn, so many of them."""
        self._local = local
        self._topics = topics
        self._meeting = meeting
        self._report = report
        self._recover = recover
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Follow the cluster until cancelled."""
        end = self._local.cluster.on_change(self._on_change)
        try:
            self.judge_again()
            if self._local.cluster.removed:
                self._meeting.problems.note("this node", REMOVED)
            while True:
                await self._see_to_keys()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(ROUND_S * self._rng.uniform(0.5, 1.5)):
                        await self._changed.wait()
                self._changed.clear()
        finally:
            end()

    def judge_again(self) -> None:
        """Let the access list act on the connections there are."""
        cluster = self._local.cluster
        others = [member.node for member in cluster.membership.members() if member.node != cluster.identity.node]
        access = {node: cluster.verdict(node).access for node in others}
        refused = frozenset(node for node, verdict in access.items() if verdict is Access.REFUSE)
        self._report(events.Barred(refused, REFUSAL))
        for link in list(self._meeting.links.values()):
            if access.get(link.node) is Access.QUARANTINE:
                link.connection.close(Fault.SHUTDOWN, "in quarantine there")
        self._meeting.quarantine.release(lambda node: access.get(node) is Access.QUARANTINE)

    def _on_change(self, changed: Changed) -> None:
        """Called on the thread that brought the entries."""
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            self._loop.call_soon_threadsafe(self._take, changed)

    def _take(self, changed: Changed) -> None:
        own = self._local.identity.node
        gone = {node: f"{REMOVED_BY}{by}" for node, by in changed.removed.items() if node != own}
        if own in changed.removed:
            self._meeting.problems.note("this node", f"{REMOVED}; it was removed by {changed.removed[own]}")
        if gone:
            self._report(events.Removed(gone))
            self._meeting.quarantine.part(gone)
        self.judge_again()
        if changed.told_under is not None:
            self._topics.tell_membership([entry.raw for entry in changed.entries], changed.told_under)
            self._report(events.Learned())
        else:
            self._tell_blind()
        for space in (*changed.spaces, *self._renewed(changed)):
            self._report(events.SpaceStirred(space))
        if changed.withdrawn:
            self._recover(changed.withdrawn)
        self._changed.set()

    def _renewed(self, changed: Changed) -> list[SpaceId]:
        """The named spaces whose keys others renewed: what was told under these before they came went unread."""
        if changed.told_under is not None:
            return []
        spaces = [entry.body.space for entry in changed.entries if isinstance(entry.body, Rotate)]
        sharing = self._local.cluster.sharing()
        return [space for space in sharing if space in spaces and space not in changed.spaces]

    def _tell_blind(self) -> None:
        """Have sessions with neighbours that cannot open what members are told."""
        cluster = self._local.cluster
        for link in list(self._meeting.links.values()):
            if cluster.membership.space_role(link.node, cluster.public) in {None, Role.BLIND}:
                self._report(events.SyncAsked(link.node))

    async def _see_to_keys(self) -> None:
        if not keys_wanting(self._local.cluster):
            return
        members = self._local.cluster.membership.members()
        admins = sum(member.role is Role.ADMIN for member in members)
        await asyncio.sleep(self._rng.uniform(0.0, SPREAD_S * admins))
        if keys_wanting(self._local.cluster):
            try:
                await asyncio.to_thread(self._local.keep_up)
            except CisError:
                _log.warning("keys could not be renewed this time", exc_info=True)
