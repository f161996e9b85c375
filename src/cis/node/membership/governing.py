"""What an admin decides, as entries for the membership log: grants, removals, new keys and spaces.

Each function returns what `Cluster.issue` (in `cluster`) builds entries with: on a copy of the log, within the
transaction that stores them, so that what a removal says of the logs it cuts is what the store holds at that moment. A
removal and the new keys it calls for are one such step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from cis.errors import CisError, UsageError
from cis.model import NodeId, ReplicaId, SpaceId
from cis.node.membership.cluster import Build, Cluster
from cis.store.ledger import logs_of
from cis.trust import Identity, Membership
from cis.wire.membership import NO_SPACE, Cut, Grant, Role

if TYPE_CHECKING:
    import apsw

    from cis.trust.sealing import Entropy

_log = logging.getLogger(__name__)


class Governing:
    """Builds entries for one cluster, stated by ``issuer``: this node, or the recovery identity."""

    def __init__(self, cluster: Cluster, issuer: Identity, entropy: Entropy, clock_ms: Callable[[], int]) -> None:
        self._cluster = cluster
        self._issuer = issuer
        self._entropy = entropy
        self._clock_ms = clock_ms

    def revocation(self, subject: NodeId, spaces: Sequence[SpaceId]) -> Build:
        """Remove a member, or take spaces from it, and renew every key it knew of what it loses."""

        def build(connection: apsw.Connection, log: Membership) -> list[bytes]:
            cuts = [
                Cut(SpaceId(space), ReplicaId(replica), seq)
                for space, replica, seq in logs_of(connection, subject)
                if not spaces or space in spaces
            ]
            raw = log.revoke(self._issuer, subject, spaces, cuts, self._entropy, self._clock_ms())
            log.add(raw)
            return [raw, *self._renewed(log)]

        return build

    def grant(self, subject: NodeId, role: Role, spaces: Sequence[SpaceId]) -> Build:
        """Give a role in spaces to a member, or to one that was removed; `UsageError` where it has as much already."""

        def build(_: apsw.Connection, log: Membership) -> list[bytes]:
            member, opened = log.member(subject), set(spaces)
            if member is None:
                opened.add(self._cluster.public)  # where members are told of each other
            enough = _has(log, subject, role, spaces)
            granted = self._granted(log, subject, role, opened)
            if enough and member is not None:
                raise UsageError(
                    f"{member.name} has that role there already; to give it less, take away first: "
                    f"cis acl revoke {member.name}"
                )
            return [granted]

        return build

    def rotation(self, spaces: Sequence[SpaceId]) -> Build:
        """Renew the keys of spaces (NO_SPACE: the discovery key)."""

        def build(_: apsw.Connection, log: Membership) -> list[bytes]:
            return [self._rotated(log, space) for space in spaces]

        return build

    def new_space(self, name: str, members: Iterable[NodeId]) -> Build:
        """Make a space and let members in, each with the role it has."""

        def build(_: apsw.Connection, log: Membership) -> list[bytes]:
            if name in self._cluster.spaces():
                raise UsageError(f"there is a space {name!r} already: choose another name")
            known = set(log.spaces())
            chosen = [member for node in members if (member := log.member(node)) is not None]
            nodes = [member.node for member in chosen if member.role is not Role.BLIND]
            raw = log.create_space(self._issuer, name, nodes, self._entropy, self._clock_ms())
            log.add(raw)
            (made,) = set(log.spaces()) - known
            others = [member for member in chosen if member.role is not Role.ADMIN]
            return [raw, *(self._granted(log, member.node, member.role, {made}) for member in others)]

        return build

    def upkeep(self) -> Build:
        """Renew the keys a removed member knows, and hand out those that members lack."""

        def build(_: apsw.Connection, log: Membership) -> list[bytes]:
            return [*self._renewed(log), *self._reopened(log), *self._mended(log)]

        return build

    # --- entries ---------------------------------------------------------------------------------------------

    def _renewed(self, log: Membership) -> list[bytes]:
        return [self._rotated(log, space) for space in compromised(log)]

    def _reopened(self, log: Membership) -> list[bytes]:
        """Open new epochs where this node, an admin's, was not given the key in use: nobody may have been."""
        keys = log.keys_of(self._cluster.identity, self._cluster.keys)
        held = {space: of.epochs for space, of in keys.spaces.items()} | {NO_SPACE: keys.discovery}
        spaces = (NO_SPACE, *log.spaces())
        return [self._rotated(log, space) for space in spaces if log.epoch(space) not in held.get(space, ())]

    def _mended(self, log: Membership) -> list[bytes]:
        wanting: dict[tuple[NodeId, Role], set[SpaceId]] = {}
        keys = log.keys_of(self._cluster.identity, self._cluster.keys)
        for node, space, epochs in log.lacking():
            member = log.member(node)
            held = keys.discovery if space == NO_SPACE else getattr(keys.spaces.get(space), "epochs", {})
            if member is not None and any(epoch in held for epoch in epochs):
                role = member.role if space == NO_SPACE else log.space_role(node, space) or member.role
                wanting.setdefault((node, role), set()).update({space} - {NO_SPACE})
        mended = []
        for (node, role), spaces in wanting.items():
            try:
                mended.append(self._granted(log, node, role, spaces))
            except CisError as error:  # the others are to have their keys all the same
                _log.warning("a member could not be given the keys it lacks: %s", error)
        return mended

    def _rotated(self, log: Membership, space: SpaceId) -> bytes:
        raw = log.rotate(self._issuer, space, self._entropy, self._clock_ms())
        log.add(raw)
        return raw

    def _granted(self, log: Membership, subject: NodeId, role: Role, spaces: Iterable[SpaceId]) -> bytes:
        """Grant a role, with all keys this node has of the spaces."""
        member = log.member(subject) or self._cluster.former(subject)
        if member is None:
            raise UsageError("no such node was ever a member: invite it (`cis invite`)")
        opened = log.spaces() if role is Role.ADMIN else tuple(sorted(spaces))
        name = member.name if log.member(subject) is not None else log.free_name(member.name)
        keys = log.keys_of(self._cluster.identity, self._cluster.keys)
        grant = Grant(subject, member.sealing_key, name, role, opened)
        raw = log.grant(self._issuer, grant, keys, self._entropy, self._clock_ms())
        log.add(raw)
        return raw


def compromised(log: Membership) -> list[SpaceId]:
    """Return the spaces, and NO_SPACE for the discovery key, whose key in use a removed member knows."""
    return [space for space in (NO_SPACE, *log.spaces()) if log.epoch(space) is None]


def keys_wanting(cluster: Cluster) -> bool:
    """Tell whether this node, as an admin's, has keys to renew or to hand out."""
    log = cluster.membership
    return cluster.is_admin and bool(compromised(log) or log.lacking())


def _has(log: Membership, subject: NodeId, role: Role, spaces: Iterable[SpaceId]) -> bool:
    member = log.member(subject)
    if member is None:
        return False
    if member.role is Role.ADMIN or role is Role.ADMIN:
        return member.role is Role.ADMIN
    held = [log.space_role(subject, space) for space in spaces]
    return bool(held) and all(one is not None and one <= role for one in held)
