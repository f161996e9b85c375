"""The cluster as one node knows it: membership, keys, spaces by name, invitations; kept in the store.

Asked by the writer whether an author may write, by the handshake whether a dialler is a member, and by the
issuer's side of joining, where a ticket and the grant it leads to are stored in one transaction.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from cis.errors import Denied, Fault, PeerFault, UsageError
from cis.model import NodeId, SpaceId, did_of, short_id
from cis.store.ledger import (
    ClusterRecord,
    drop_invitations,
    load_invitations,
    save_entries,
    save_invitation,
)
from cis.trust import (
    PRIVATE,
    PUBLIC,
    ClusterKeys,
    HandshakeKey,
    Identity,
    Invitation,
    Member,
    Membership,
    Ticket,
    check_name,
    read_entry,
    redeem,
    space_id,
)
from cis.trust.sealing import Entropy, SpaceKeys
from cis.wire.joining import JoinRequest
from cis.wire.membership import Grant, Role

if TYPE_CHECKING:
    import apsw

    from cis.store.store import Store

_EXPIRED_KEPT_MS = 24 * 3600 * 1000
_NO_AUTHORITY = bytes(32)
"""What changesets of the private space name: nobody else ever judges them."""


class Cluster:
    """Membership is added to by the loop's thread and read by the writer's; each entry is added whole."""

    def __init__(
        self, identity: Identity, record: ClusterRecord, entropy: Entropy, clock_ms: Callable[[], int]
    ) -> None:
        self._identity = identity
        self._entropy = entropy
        self._clock_ms = clock_ms
        self._guard = threading.Lock()
        """Around reading and adding to the log, and nothing else: the writer's thread takes it, so nobody may hold it
        while waiting for the writer."""
        self._admitting = threading.Lock()
        self.membership = Membership(record.cluster, record.entries)
        self.keys = ClusterKeys.decode(record.keys)
        self.public = space_id(record.cluster, PUBLIC)
        self.private = self.keys.private.space
        self._invitations: dict[bytes, Invitation] = {}

    @property
    def id(self) -> bytes:
        """The cluster's id."""
        return self.membership.cluster

    @property
    def me(self) -> Member:
        """This node as a member."""
        member = self.membership.member(self._identity.node)
        assert member is not None, "a node is a member of its own cluster"
        return member

    def spaces(self) -> dict[str, SpaceKeys]:
        """Return the spaces this node can read, by name."""
        return {PUBLIC: self.keys.spaces[self.public], PRIVATE: self.keys.private}

    def space(self, name: str) -> SpaceId:
        """Return the space of that name; `UsageError` listing those there are."""
        found = self.spaces().get(name)
        if found is None:
            raise UsageError(f"there is no space {name!r}: there are {', '.join(self.spaces())}")
        return found.space

    def space_name(self, space: SpaceId) -> str:
        """Return the name of a space known here."""
        return next((name for name, keys in self.spaces().items() if keys.space == space), "unknown")

    def name_of(self, node: NodeId) -> str:
        """Return a member's name, or an abbreviated id for a node that is none."""
        member = self.membership.member(node)
        return member.name if member is not None else short_id(node)

    def find(self, text: str) -> Member:
        """Return the member meant by a name, ``did:cis:NAME``, a DID or a prefix; `UsageError` where not just one."""
        wanted = text.removeprefix("did:cis:")
        exact = [member for member in self.membership.members() if wanted in (member.name, did_of(member.node))]
        found = exact or [
            member
            for member in self.membership.members()
            if wanted and (did_of(member.node).startswith(wanted) or short_id(member.node).startswith(wanted))
        ]
        if len(found) == 1:
            return found[0]
        names = ", ".join(member.name for member in found or self.membership.members())
        problem = "means more than one member" if found else "is no member"
        raise UsageError(f"{text!r} {problem}: {'they are' if found else 'members are'} {names}")

    # --- judging ---------------------------------------------------------------------------------------------

    def authority(self, space: SpaceId) -> bytes:
        """Return the membership head this node's changesets in the space name; `Denied` where it may not write."""
        if space == self.private:
            return _NO_AUTHORITY
        with self._guard:
            head = self.membership.authority(self._identity.node, space)
        if head is None:
            raise Denied("this node may only read that space: ask an admin for the writer's role")
        return head

    def judge(self, node: NodeId, space: SpaceId, authority: bytes) -> Fault | None:
        """Tell why a changeset of that author, space and authority is refused, None where it is not.

        BUSY means that the authority is not known yet: nobody is to blame, and the log must be compared first.
        """
        if space == self.private:
            return Fault.UNAUTHORISED
        with self._guard:
            if not self.membership.knows(authority):
                return Fault.BUSY
            return None if self.membership.may_write(node, space, authority) else Fault.UNAUTHORISED

    def handshake_keys(self) -> list[HandshakeKey]:
        """Return the keys a dialler may prove it knows: the discovery key, and secrets of live tickets."""
        now_ms = self._clock_ms()
        live = [one for one in self._invitations.values() if one.live(now_ms)]
        return [HandshakeKey(self.keys.discovery), *(HandshakeKey(one.secret, one.id) for one in live[-63:])]

    # --- growing ---------------------------------------------------------------------------------------------

    def add_entries(self, raws: Iterable[bytes], store: Store) -> int:
        """Verify, take in and store membership entries; returns how many were new. `PeerFault` for a bad one."""
        with self._guard:
            added = [entry for raw in raws for entry in self.membership.add(raw)]
        rows = [(entry.id, entry.raw) for entry in added]
        if rows:
            store.execute(lambda connection: save_entries(connection, rows)).result()
        return len(rows)

    def load_invitations(self, store: Store) -> None:
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

        self._invitations = {one.id: one for one in store.execute(task).result()}

    def invite(
        self, store: Store, role: Role, name: str | None, life_ms: int, addresses: Sequence[tuple[str, int]]
    ) -> Ticket:
        """Make a single-use ticket to this cluster; `Denied` for a node that is no admin."""
        if self.me.role is not Role.ADMIN:
            raise Denied("only an admin invites: ask one to run `cis invite`")
        if name is not None:
            check_name(name)
        expires_ms = self._clock_ms() + life_ms
        spaces = tuple(self.keys.spaces)
        invitation = Invitation.generate(role, spaces, name, expires_ms, self._entropy)
        record = msgspec.msgpack.encode(invitation)
        store.execute(lambda connection: save_invitation(connection, invitation.id, record)).result()
        self._invitations[invitation.id] = invitation
        return Ticket(self.id, self._identity.node, tuple(addresses), invitation.secret, expires_ms)

    def admit(self, store: Store, ticket: bytes, node: NodeId, request: JoinRequest) -> tuple[bytes, ...]:
        """Redeem a ticket for the node: return the log with its grant; `PeerFault` TICKET where it may not."""
        with self._admitting:
            invitation = self._invitations.get(ticket)
            redeemed = redeem(invitation, node, self._clock_ms()) if invitation else Fault.TICKET
            if isinstance(redeemed, Fault):
                raise PeerFault(redeemed, "this ticket was used or has expired: ask for a new one (`cis invite`)")
            if self.membership.member(node) is None:
                self._grant(store, redeemed, node, request)
            return tuple(self.membership.entries_missing_from())

    def _grant(self, store: Store, redeemed: Invitation, node: NodeId, request: JoinRequest) -> None:
        name = self.membership.free_name(redeemed.name or request.name)
        grant = Grant(node, request.sealing_key, name, redeemed.role, redeemed.spaces)
        raw = self.membership.grant(self._identity, grant, self.keys, self._entropy, self._clock_ms())
        entry, record = read_entry(raw), msgspec.msgpack.encode(redeemed)

        def task(connection: apsw.Connection) -> None:
            save_entries(connection, [(entry.id, raw)])
            save_invitation(connection, redeemed.id, record)

        store.execute(task).result()
        with self._guard:
            self.membership.add(raw)
        self._invitations[redeemed.id] = redeemed
