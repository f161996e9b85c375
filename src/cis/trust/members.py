"""Who is a member, and what is shared with whom: read from the membership log, the same on all nodes that have it."""

from __future__ import annotations

from collections.abc import Iterable

from cis.model import NodeId, SpaceId
from cis.trust.chronicle import Chronicle
from cis.trust.keys import PUBLIC, space_id
from cis.trust.log import Known
from cis.trust.names import Member, free_name, name_members
from cis.trust.standing import follows
from cis.wire.membership import NewSpace, Role


class Members(Chronicle):
    """A log that is asked about members and spaces."""

    def __init__(self, cluster: bytes, entries: Iterable[bytes] = ()) -> None:
        self._members: tuple[int, dict[NodeId, Member]] = (-1, {})
        self._new_spaces: tuple[int, dict[SpaceId, Known]] = (-1, {})
        super().__init__(cluster, entries)

    def members(self) -> tuple[Member, ...]:
        """Return all members, in an order all nodes agree on."""
        return tuple(self._by_node().values())

    def member(self, node: NodeId) -> Member | None:
        """Return a member, None for a node that is none."""
        return self._by_node().get(node)

    def revoked(self, node: NodeId) -> bool:
        """Tell whether a node was granted membership once and has it no more."""
        return bool(self.rights.granted(node)) and self.member(node) is None

    def removed_by(self, node: NodeId) -> NodeId | None:
        """Return who removed a node that was a member; None where nobody did, or its own admin was removed."""
        removals = self.rights.covering(node, None) if self.revoked(node) else []
        return min(removals, key=lambda known: known.rank).entry.issuer if removals else None

    def contesting(self) -> tuple[NodeId, ...]:
        """Return the removed admins whose word, should it come, may undo their removal: they outrank who stated it."""
        return tuple(node for node in self.rights.nodes() if self.revoked(node) and self._outranks_removers(node))

    def _outranks_removers(self, node: NodeId) -> bool:
        removals = self.rights.covering(node, None)
        for known, grant in self.rights.granted(node):
            removers = [removal.entry.issuer for removal in removals if not follows(known, removal)]
            if grant.role is Role.ADMIN and removers:
                own = self.rights.seniority(node)
                if all(own < self.rights.seniority(one) for one in removers):
                    return True
        return False

    def free_name(self, wanted: str) -> str:
        """Return ``wanted``, or with the least suffix (``-2``, ``-3`` …) that no member has."""
        return free_name(wanted, {member.name for member in self.members()})

    def spaces(self) -> tuple[SpaceId, ...]:
        """Return the spaces there are: the public one, then the named ones by rank."""
        return (space_id(self.cluster, PUBLIC), *self.new_spaces())

    def new_spaces(self) -> dict[SpaceId, Known]:
        """Return the named spaces, by rank, and the entries that made them."""
        count = len(self.log.known)
        if self._new_spaces[0] != count:
            made: dict[SpaceId, Known] = {}
            for known in self.ranked():
                body = known.entry.body
                if isinstance(body, NewSpace) and self.rights.blame(known) is None:
                    made.setdefault(body.space, known)
            self._new_spaces = count, made
        return self._new_spaces[1]

    def readers(self, space: SpaceId) -> tuple[Member, ...]:
        """Return the members entitled to the keys of a space: its readers and writers, and all admins."""
        return tuple(member for member in self.members() if member.roles.get(space, Role.BLIND) is not Role.BLIND)

    def sharers(self, space: SpaceId) -> tuple[Member, ...]:
        """Return the members that hold a space: its readers, and those that store it blind."""
        return tuple(member for member in self.members() if space in member.roles)

    def space_role(self, node: NodeId, space: SpaceId) -> Role | None:
        """Return what a node may do in a space now, None where it shares it not."""
        member = self.member(node)
        return member.roles.get(space) if member is not None else None

    def _by_node(self) -> dict[NodeId, Member]:
        count = len(self.log.known)
        if self._members[0] != count:
            self._members = count, name_members(self._live_grants(), self.rights, self.spaces())
        return self._members[1]

    def _live_grants(self) -> list[Known]:
        """The grants by which nodes are members now, by rank."""
        everything, rights = self.log.everything, self.rights
        live = [known for node in rights.nodes() if node != rights.recovery for known, _ in rights.at(node, everything)]
        return sorted(live, key=lambda known: known.rank)
