"""The cluster as one node takes part in it: who may come in and write, and what new membership entries lead to.

Asked by the writer whether an author may write, by the handshake whether a dialler is a member. Whatever enters the
membership log, told by others or stated here, enters it in one place: entries and the keys they bring are stored in one
transaction, new spaces are opened, what a removal voids is withdrawn from the store, and listeners are told.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cis.errors import Denied, Fault, PeerFault
from cis.model import NodeId, ReplicaId, SpaceId, node_of
from cis.node.membership.directory import Directory
from cis.node.membership.invitations import Invitations, drop, save
from cis.store.ledger import (
    ClusterRecord,
    owe_withdrawal,
    owes_withdrawal,
    save_entries,
    save_keys,
    settle_withdrawal,
)
from cis.store.stability import forget_stable
from cis.trust import (
    PUBLIC,
    ClusterKeys,
    HandshakeKey,
    Identity,
    Invitation,
    Member,
    Membership,
    SignedEntry,
    Ticket,
    check_name,
    read_entry,
)
from cis.trust.acl import Acl, Verdict
from cis.trust.entries import id_of
from cis.trust.pairwise import PAIRS_MAX, Pairwise
from cis.trust.rights import check_scope
from cis.trust.sealing import Entropy, SpaceKeys
from cis.wire.joining import JoinRequest
from cis.wire.membership import Cut, Grant, Role

if TYPE_CHECKING:
    import apsw

    from cis.store.store import Store

_log = logging.getLogger(__name__)

_NO_AUTHORITY = bytes(32)
"""What changesets of the private space name: nobody else ever judges them."""
FORMER_ADMINS_MAX = 32
RENEW_FIRST = (
    "the key of this space is known to a removed member: an admin's node must renew it first; connect to one "
    "(cis p2p connect NAME)"
)

Build = Callable[["apsw.Connection", Membership], list[bytes]]
"""Returns new entries, having added them to the log it is given; it reads the store as of its transaction."""


@dataclass(frozen=True)
class Changed:
    """What new membership entries led to here."""

    entries: tuple[SignedEntry, ...]
    told_under: SpaceKeys | None
    """where they were stated here: the keys of the public space before, under which the others are told of them"""
    removed: dict[NodeId, str] = field(default_factory=dict)
    """who is no member any more, and by whom it was removed"""
    spaces: tuple[SpaceId, ...] = ()
    """spaces this node shares from now on"""
    withdrawn: int = 0
    """changes that were taken back, as they lay beyond the cut of a removal"""


class Cluster(Directory):
    """Read by any thread: entries are added to a copy of the membership, which then takes its place, one at a time."""

    def __init__(
        self, identity: Identity, record: ClusterRecord, entropy: Entropy, clock_ms: Callable[[], int]
    ) -> None:
        super().__init__(identity, Membership(record.cluster, record.entries), ClusterKeys.decode(record.keys))
        self._entropy = entropy
        self._clock_ms = clock_ms
        self._guard = threading.Lock()
        """So that membership and keys are of one moment; the writer's thread takes it, so nobody may hold it while
        waiting for the writer."""
        self.changing = threading.Lock()
        """Held from the decision to add entries until everything that follows from them is done, and by whoever acts on
        who is a member: nobody holds it on the writer's thread."""
        self._listeners: list[Callable[[Changed], None]] = []
        self._pairwise = Pairwise(identity, record.cluster)
        self.invitations = Invitations(entropy, clock_ms)
        self.acl = Acl()
        """which members this node holds connections with; whoever sets it has live ones judged again"""

    # --- judging ---------------------------------------------------------------------------------------------

    def authority(self, space: SpaceId) -> bytes:
        """Return the membership head this node's changesets in the space name; `Denied` where it may not write."""
        if space == self.private:
            return _NO_AUTHORITY
        with self._guard:
            self.writing_keys(space)
            head = self.membership.authority(self.identity.node, space)
        if head is None:
            raise Denied("this node may only read that space: ask an admin for the writer's role")
        return head

    def writing_keys(self, space: SpaceId) -> SpaceKeys:
        """Return the keys under which something new may be sealed; `Denied` where there are none."""
        keys, epoch = self.keys.spaces.get(space), self.membership.epoch(space)
        if self.removed:
            raise Denied("this node was removed from its cluster: ask an admin to grant it a role again")
        if keys is None:
            raise Denied("this node holds no key of that space: ask an admin for the reader's or writer's role")
        if epoch is None:
            raise Denied(RENEW_FIRST)
        if keys.current != epoch:
            raise Denied("this node was not given the new key of that space yet: connect to an admin's node")
        return keys

    def judge(self, replica: ReplicaId, space: SpaceId, authority: bytes, first: int = 1) -> Fault | None:
        """Tell why changes from number ``first`` on, under that authority, are refused; None where they are not.

        BUSY means that the authority is not known yet: nobody is to blame, and the log must be compared first. CUT
        means that a removal voids them, or the grant they rest on, which whoever passed them on need not know.
        """
        if space == self.private:
            return Fault.UNAUTHORISED
        with self._guard:
            log = self.membership
            if not log.knows(authority):
                return Fault.BUSY
            cut = log.limit(space, replica)
            if (cut is not None and first > cut.seq) or log.refuses(replica, space, authority):
                return Fault.CUT
            asked = (node_of(replica), space, authority)
            if log.may_write(*asked):
                return None
            return Fault.CUT if log.might_write(*asked) else Fault.UNAUTHORISED

    def limit(self, space: SpaceId, replica: ReplicaId) -> Cut | None:
        """Return how far a log counts, None where no removal ends it."""
        with self._guard:
            return self.membership.limit(space, replica)

    def verdict(self, node: NodeId) -> Verdict:
        """Say what the access list of this node makes of a connection with a member."""
        member = self.membership.member(node)
        return self.acl.judge(node, member.name if member is not None else "")

    # --- being known -----------------------------------------------------------------------------------------

    def handshake_keys(self) -> list[HandshakeKey]:
        """Return what a dialler may prove it knows: the discovery key, a live ticket, or the key it shares with us.

        Removed admins are answered too, as they may have decided something that counts (`cis.node.entry.appeals`).
        """
        former = (self.former(node) for node in self.former_admins()[:FORMER_ADMINS_MAX])
        heard = [*self.membership.members()[:PAIRS_MAX], *(one for one in former if one is not None)]
        pairs = (self.pairwise_key(one) for one in heard)
        return [
            HandshakeKey(self.keys.discovery_key),
            *self.invitations.keys(),
            *(HandshakeKey(key) for key in pairs if key is not None),
        ]

    def pairwise_key(self, member: Member) -> bytes | None:
        """Return the key this node shares with another member alone."""
        if member.node == self.identity.node:
            return None
        return self._pairwise.key(member.node, member.sealing_key)

    # --- growing ---------------------------------------------------------------------------------------------

    def on_change(self, listener: Callable[[Changed], None]) -> Callable[[], None]:
        """Call the listener after new entries took effect, on whichever thread brought them; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def add_entries(self, raws: Iterable[bytes], store: Store) -> int:
        """Verify entries others told, and let them take effect; returns how many were new. `PeerFault` for a bad one.

        It waits for the store, so not on the writer's thread.
        """
        told = list(raws)
        if _all_known(self.membership, told):
            return 0
        with self.changing:
            log = self.membership.copy()
            added, fault = _added(log, told)
            changed = None
            if added:
                keys = self._keys_after(log)
                store.execute(lambda connection: self._save(connection, log, added, keys)).result()
                changed = self._take_effect(store, log, added, keys, issued=False)
            else:
                self.membership = log  # something may wait in it for its parents
        self._tell(changed)
        if fault is not None:
            raise fault
        return len(added)

    def issue(self, store: Store, build: Build, also: Callable[[apsw.Connection], None] | None = None) -> Changed:
        """State entries: what ``build`` returns is stored with its keys, and ``also``, in one transaction.

        Where it fails nothing has happened.
        """
        with self.changing:

            def task(connection: apsw.Connection) -> tuple[Membership, list[SignedEntry], ClusterKeys]:
                log = self.membership.copy()  # anew each time, as the store repeats what had to be undone with others
                entries = [read_entry(raw) for raw in build(connection, log)]
                keys = self._keys_after(log)
                self._save(connection, log, entries, keys)
                if also is not None:
                    also(connection)
                return log, entries, keys

            log, entries, keys = store.execute(task).result()
            changed = self._take_effect(store, log, entries, keys, issued=True)
        self._tell(changed)
        return changed

    def open_spaces(self, store: Store) -> None:
        """Make all spaces of this node known to its store, with their keys where it has them."""
        for name, keys in self.spaces().items():
            if store.keys.get(keys.space) != keys:
                store.add_space(keys, name, replicated=keys.space != self.private)
        for space in self.shared():
            if space not in self.keys.spaces:
                store.share(space, PUBLIC if space == self.public else space.hex()[:8])

    def withdraw(self, store: Store) -> int:
        """Take back what removals void, and note that it is done; returns how many changes that were."""
        withdrawn = store.withdraw(None).changes
        store.execute(settle_withdrawal).result()
        return withdrawn

    # --- inviting --------------------------------------------------------------------------------------------

    def invite(
        self,
        store: Store,
        role: Role,
        name: str | None,
        life_ms: int,
        addresses: Sequence[tuple[str, int]],
        *,
        spaces: tuple[SpaceId, ...] | None = None,
        bound_to: NodeId | None = None,
    ) -> Ticket:
        """Make a single-use ticket to this cluster and those of its spaces; `Denied` for a node that is no admin.

        To the public space in any case; with ``bound_to`` for that node alone.
        """
        if not self.is_admin:
            raise Denied("only an admin invites: ask one to run `cis invite`")
        check_scope(role, spaces)
        if name is not None:
            check_name(name)
        opened = tuple(sorted({self.public, *(spaces or ())}))  # in the public one members are told of each other
        made = self.invitations.make(store, role, opened, name, life_ms, bound_to)
        return Ticket(self.id, self.identity.node, tuple(addresses), made.secret, made.expires_ms)

    def admit(self, store: Store, ticket: bytes, node: NodeId, request: JoinRequest) -> tuple[bytes, ...]:
        """Redeem a ticket for the node: return the log with its grant; `PeerFault` TICKET where it may not."""
        redeemed = self.invitations.redeemed(ticket, node)

        def build(_: apsw.Connection, log: Membership) -> list[bytes]:
            self.invitations.redeemed(ticket, node)  # another may have come first
            member = log.member(node)
            if self.invitations.was_redeemed(ticket):
                if member is None:
                    raise PeerFault(Fault.TICKET, "the node this ticket admitted was removed: ask for a new one")
                return []  # it lost the answer, and asks again
            name = member.name if member is not None else log.free_name(redeemed.name or request.name)
            grant = Grant(node, request.sealing_key, name, redeemed.role, redeemed.spaces)
            raw = log.grant(self.identity, grant, self.keys, self._entropy, self._clock_ms())
            log.add(raw)
            self.invitations.keep(redeemed)
            return [raw]

        self.issue(store, build, lambda connection: save(connection, redeemed))
        return tuple(self.membership.entries_missing_from())

    # --- what entries lead to --------------------------------------------------------------------------------

    def _keys_after(self, log: Membership) -> ClusterKeys:
        try:
            return log.keys_of(self.identity, self.keys)
        except PeerFault as fault:
            _log.warning("an admin sealed keys to this node that do not open: %s", fault)
            return self.keys

    def _save(
        self, connection: apsw.Connection, log: Membership, entries: Sequence[SignedEntry], keys: ClusterKeys
    ) -> None:
        save_entries(connection, [(entry.id, entry.raw) for entry in entries])
        if keys != self.keys:
            save_keys(connection, keys.encode())
        growing = [space for space in self.shared() if _gains_readers(self.membership, log, space)]
        forgotten = [forget_stable(connection, space) for space in growing]
        if any(forgotten) or any(map(_unsettles, entries)):
            owe_withdrawal(connection)
        drop(connection, self._spent(log))

    def _spent(self, log: Membership) -> list[Invitation]:
        """The invitations that lapse with memberships that end by this log: all, where this node's own does."""
        if log.member(self.identity.node) is None:
            return self.invitations.all()
        members = self.membership.members()
        return self.invitations.of([member.node for member in members if log.member(member.node) is None])

    def _take_effect(
        self,
        store: Store,
        log: Membership,
        entries: Sequence[SignedEntry],
        keys: ClusterKeys,
        *,
        issued: bool,
    ) -> Changed:
        members, shared = self.membership.members(), self.shared()
        self.invitations.forget(self._spent(log))
        told_under = self.keys.spaces.get(self.public) if issued else None
        for space, renewed in keys.spaces.items():  # before anything may be written under what the log says now
            if store.keys.get(space) not in (None, renewed):
                store.add_space(renewed, self.space_name(space), replicated=True)
        with self._guard:
            self.keys, self.membership = keys, log  # in this order: whoever remembers answers does so by membership
        self.open_spaces(store)
        with store.snapshot() as reader:
            owing = owes_withdrawal(reader.connection)
        withdrawn = self.withdraw(store) if owing else 0
        removed = [member.node for member in members if self.membership.member(member.node) is None]
        return Changed(
            tuple(entries),
            told_under,
            {node: self.remover_of(node) for node in removed},
            tuple(space for space in self.shared() if space not in shared),
            withdrawn,
        )

    def _tell(self, changed: Changed | None) -> None:
        if changed is not None and changed.entries:
            for listener in list(self._listeners):
                listener(changed)


def _all_known(log: Membership, raws: Iterable[bytes]) -> bool:
    """Tell whether entries would change nothing: who tells old ones again costs little."""
    try:
        return all(log.knows(id_of(raw)) for raw in raws)
    except PeerFault:
        return False


def _added(log: Membership, raws: Iterable[bytes]) -> tuple[list[SignedEntry], PeerFault | None]:
    """Add entries up to one that is bad; return those that are new, and what is wrong with the bad one."""
    added: list[SignedEntry] = []
    for raw in raws:
        try:
            added += log.add(raw)
        except PeerFault as fault:
            return added, fault
    return added, None


def _gains_readers(before: Membership, after: Membership, space: SpaceId) -> bool:
    """Tell whether the stable floor of a space waits for somebody's reports who was not waited for."""
    return not {one.node for one in after.readers(space)} <= {one.node for one in before.readers(space)}


def _unsettles(entry: SignedEntry) -> bool:
    """Tell whether an entry may void changes: a removal, or an admin's grant, by which one may come to stand."""
    return entry.revoke is not None or (entry.grant is not None and entry.grant.role is Role.ADMIN)
