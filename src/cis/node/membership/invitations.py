"""Invitations this node issued, kept in the store: a ticket and the grant it leads to are one transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from cis.errors import Fault, PeerFault
from cis.model import NodeId, SpaceId
from cis.store.ledger import drop_invitations, load_invitations, save_invitation
from cis.trust import HandshakeKey, Invitation, redeem
from cis.trust.sealing import Entropy
from cis.wire.membership import Role

if TYPE_CHECKING:
    import apsw

    from cis.store.store import Store

_EXPIRED_KEPT_MS = 24 * 3600 * 1000
LIVE_MAX = 63
"""Tickets a dialler may show at once; the oldest of more are answered again once others are used or expired."""


class Invitations:
    """Tickets by their ids; whoever redeems one holds the lock of `cis.node.membership.cluster.Cluster` on changes."""

    def __init__(self, entropy: Entropy, clock_ms: Callable[[], int]) -> None:
        self._entropy = entropy
        self._clock_ms = clock_ms
        self._held: dict[bytes, Invitation] = {}

    def load(self, store: Store) -> None:
        """Read the invitations of earlier runs, forgetting those expired for a day."""

        def task(connection: apsw.Connection) -> list[Invitation]:
            kept: list[Invitation] = []
            gone: list[Invitation] = []
            for raw in load_invitations(connection):
                invitation = msgspec.msgpack.decode(raw, type=Invitation)
                stale = self._clock_ms() > invitation.expires_ms + _EXPIRED_KEPT_MS
                (gone if stale else kept).append(invitation)
            drop_invitations(connection, [one.id for one in gone])
            return kept

        self._held = {one.id: one for one in store.execute(task).result()}

    def make(
        self,
        store: Store,
        role: Role,
        spaces: Sequence[SpaceId],
        name: str | None,
        life_ms: int,
        bound_to: NodeId | None,
    ) -> Invitation:
        """Make an invitation, and keep it."""
        expires_ms = self._clock_ms() + life_ms
        made = Invitation.generate(role, tuple(spaces), name, expires_ms, self._entropy)
        invitation = replace(made, bound_to=bound_to)
        store.execute(lambda connection: save(connection, invitation)).result()
        self._held[invitation.id] = invitation
        return invitation

    def redeemed(self, ticket: bytes, node: NodeId) -> Invitation:
        """Return the invitation as redeemed by the node, not kept yet; `PeerFault` TICKET where it may not."""
        invitation = self._held.get(ticket)
        redeemed = redeem(invitation, node, self._clock_ms()) if invitation else Fault.TICKET
        if isinstance(redeemed, Fault):
            raise PeerFault(redeemed, "this ticket was used or has expired: ask for a new one (`cis invite`)")
        return redeemed

    def was_redeemed(self, ticket: bytes) -> bool:
        """Tell whether somebody was admitted by a ticket."""
        held = self._held.get(ticket)
        return held is not None and held.redeemed_by is not None

    def of(self, nodes: Collection[NodeId]) -> list[Invitation]:
        """Return those that one of these nodes was admitted by, or that are bound to it."""
        return [one for one in list(self._held.values()) if one.redeemed_by in nodes or one.bound_to in nodes]

    def all(self) -> list[Invitation]:
        """Return all that are kept, expired ones too."""
        return list(self._held.values())

    def forget(self, invitations: Iterable[Invitation]) -> None:
        """Forget what `drop` has removed from the store."""
        for one in invitations:
            self._held.pop(one.id, None)

    def cancel(self, store: Store, ticket: bytes) -> bool:
        """Make a ticket void; False where somebody has joined by it already, or there is none."""

        def task(connection: apsw.Connection) -> bool:  # one after the other with what redeems it
            held = self._held.get(ticket)
            if held is None or held.redeemed_by is not None:
                return False
            drop(connection, [held])
            self.forget([held])
            return True

        cancelled: bool = store.execute(task).result()
        return cancelled

    def usable(self) -> list[Invitation]:
        """Return those by which somebody may still be admitted: whoever holds the ticket, or whom it is bound to."""
        return [one for one in self.live() if one.redeemed_by is None]

    def keep(self, invitation: Invitation) -> None:
        """Remember what `save` has stored."""
        self._held[invitation.id] = invitation

    def keys(self) -> list[HandshakeKey]:
        """Return the keys that holders of live tickets prove they know."""
        return [HandshakeKey(one.secret, one.id) for one in self.live()[-LIVE_MAX:]]

    def live(self) -> list[Invitation]:
        """Return those whose secret is still answered to: who redeemed one may ask again until it expires."""
        now_ms = self._clock_ms()
        return [one for one in list(self._held.values()) if one.live(now_ms)]


def save(connection: apsw.Connection, invitation: Invitation) -> None:
    """Store an invitation, within whatever transaction there is."""
    save_invitation(connection, invitation.id, msgspec.msgpack.encode(invitation))


def drop(connection: apsw.Connection, invitations: Iterable[Invitation]) -> None:
    """Remove invitations from the store, within whatever transaction there is."""
    drop_invitations(connection, [one.id for one in invitations])
