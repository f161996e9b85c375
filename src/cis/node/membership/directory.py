"""Who and what there is in a cluster, as one node knows it: members and spaces by name, and who shares which space."""

from __future__ import annotations

from collections.abc import Iterable

from cis.errors import Denied, UsageError
from cis.model import NodeId, SpaceId, did_of, short_id
from cis.node.membership.exchange import Exchange, Turn
from cis.trust import PRIVATE, PUBLIC, ClusterKeys, Identity, Member, Membership, space_id
from cis.trust.sealing import SpaceKeys
from cis.wire.membership import Role


class Directory:
    """Reads the membership and the keys, which are replaced and added to by `cis.node.membership.cluster.Cluster`."""

    def __init__(self, identity: Identity, membership: Membership, keys: ClusterKeys) -> None:
        self.membership = membership
        self.keys = keys
        self.public = space_id(membership.cluster, PUBLIC)
        self.private = keys.private.space
        self.identity = identity
        self.exchange = Exchange()
        """how spaces are exchanged with other members"""
        self._former_admins: tuple[Membership, tuple[NodeId, ...]] | None = None
        self._sharing: tuple[Membership, dict[SpaceId, frozenset[NodeId]]] | None = None

    @property
    def id(self) -> bytes:
        """The cluster's id."""
        return self.membership.cluster

    # --- members ---------------------------------------------------------------------------------------------

    @property
    def me(self) -> Member:
        """This node as a member, or as the one it was before it was removed."""
        node = self.identity.node
        member = self.membership.member(node) or self.former(node)
        assert member is not None, "a node was once admitted to its own cluster"
        return member

    @property
    def removed(self) -> bool:
        """Whether this node is no member any more."""
        return self.membership.member(self.identity.node) is None

    @property
    def is_admin(self) -> bool:
        """Whether this node may admit and remove members."""
        return not self.removed and self.me.role is Role.ADMIN

    def former(self, node: NodeId) -> Member | None:
        """Return a node as its last grant describes it, whether it is still a member or not; None for a stranger.

        A grant without effect, by an admin who had been removed, says nothing, but to the node itself.
        """
        granted = self.membership.rights.granted(node)
        counted = [one for one in granted if self.membership.rights.blame(one[0]) is None]
        if not counted and node == self.identity.node:
            counted = list(granted)
        if not counted:
            return None
        known, grant = max(counted, key=lambda one: one[0].rank)
        roles = dict.fromkeys(grant.spaces, grant.role)
        return Member(node, grant.name, grant.role, roles, grant.sealing_key, known.entry.statement.issued_ms)

    def former_admins(self) -> tuple[NodeId, ...]:
        """Return the removed nodes that were admins, by grants with effect."""
        membership = self.membership
        if self._former_admins is None or self._former_admins[0] is not membership:
            rights = membership.rights
            admins = tuple(
                node
                for node in rights.nodes()
                if membership.revoked(node)
                and any(
                    grant.role is Role.ADMIN and rights.blame(known) is None for known, grant in rights.granted(node)
                )
            )
            self._former_admins = membership, admins
        return self._former_admins[1]

    def remover_of(self, node: NodeId) -> str:
        """Return, for people to read, who removed a node."""
        by = self.membership.removed_by(node)
        return "the removal of who admitted it" if by is None else self.decider(by)

    def decider(self, node: NodeId) -> str:
        """Return, for people to read, who stated an entry."""
        if node == self.membership.rights.recovery:
            return "the recovery key"
        former = self.former(node)
        return former.name if former is not None else short_id(node)

    def name_of(self, node: NodeId) -> str:
        """Return a member's name, or an abbreviated id for a node that is none."""
        member = self.membership.member(node)
        return member.name if member is not None else short_id(node)

    def find(self, text: str) -> Member:
        """Return the member meant by a name, ``did:cis:NAME``, a DID or a prefix; `UsageError` where not just one."""
        return _one_of(self.membership.members(), text)

    def find_former(self, text: str) -> Member:
        """Return a member as `find` does, or a removed one by its whole name or DID."""
        nodes = self.membership.rights.nodes()
        former = [self.former(node) for node in nodes if self.membership.member(node) is None]
        wanted = text.removeprefix("did:cis:")
        found = [one for one in former if one is not None and wanted in (one.name, did_of(one.node))]
        members = [member for member in self.membership.members() if wanted in (member.name, did_of(member.node))]
        return found[0] if len(found) == 1 and not members else self.find(text)

    # --- spaces ----------------------------------------------------------------------------------------------

    def spaces(self) -> dict[str, SpaceKeys]:
        """Return the spaces this node can read, by name: public, those that were named, private."""
        names = self.membership.space_names(self.keys)
        found = {names.get(space, space.hex()[:8]): keys for space, keys in self.keys.spaces.items()}
        public = {PUBLIC: found.pop(PUBLIC)} if PUBLIC in found else {}
        return {**public, **dict(sorted(found.items())), PRIVATE: self.keys.private}

    def space(self, name: str) -> SpaceId:
        """Return the space of that name; `Denied` for one stored blindly, `UsageError` listing those there are."""
        found = self.spaces().get(name)
        if found is None and any(self.space_name(space) == name for space in self.shared()):
            raise Denied(
                f"this node keeps the space {name} without being able to read it: ask an admin for a role there"
            )
        if found is None:
            raise UsageError(f"there is no space {name!r}: there are {', '.join(self.spaces())}")
        return found.space

    def space_name(self, space: SpaceId) -> str:
        """Return the name of a space known here; the beginning of its id where this node cannot read its name."""
        if space == self.public:
            return PUBLIC
        named = next((name for name, keys in self.spaces().items() if keys.space == space), None)
        return named or (space.hex()[:8] if space in self.membership.spaces() else "unknown")

    def readable(self) -> list[SpaceKeys]:
        """Return the keys of all spaces others share too, the public one first."""
        held = self.keys.spaces
        return sorted(held.values(), key=lambda keys: (keys.space != self.public, keys.space))

    def shared(self) -> list[SpaceId]:
        """Return the spaces this node shares with others, in order, those it stores blindly among them."""
        return _shared_by(self.membership, self.identity.node)

    def shared_with(self, node: NodeId) -> list[SpaceId]:
        """Return the spaces this node exchanges with another, in the order of their turns."""
        theirs, exchange = _shared_by(self.membership, node), self.exchange
        both = [space for space in self.shared() if space in theirs and (exchange.public or space != self.public)]
        return sorted(both, key=lambda space: exchange.public_turn if space == self.public else Turn.ANY)

    def sharing(self) -> dict[SpaceId, frozenset[NodeId]]:
        """Return whom this node shares each space with that has a name of its own."""
        membership, own = self.membership, self.identity.node
        if self._sharing is None or self._sharing[0] is not membership:
            found = {
                space: frozenset(member.node for member in membership.sharers(space) if member.node != own)
                for space in self.shared()
                if space != self.public
            }
            self._sharing = membership, found
        return self._sharing[1]

    def knows_epoch(self, epoch: int) -> bool:
        """Tell whether some space of the cluster has, or had, an epoch of that number."""
        return any(epoch in self.membership.epochs(space) for space in self.membership.spaces())


def _shared_by(membership: Membership, node: NodeId) -> list[SpaceId]:
    return [space for space in sorted(membership.spaces()) if membership.space_role(node, space) is not None]


def _one_of(members: Iterable[Member], text: str) -> Member:
    wanted, known = text.removeprefix("did:cis:"), list(members)
    exact = [member for member in known if wanted in (member.name, did_of(member.node))]
    found = exact or [
        member
        for member in known
        if wanted and (did_of(member.node).startswith(wanted) or short_id(member.node).startswith(wanted))
    ]
    if len(found) == 1:
        return found[0]
    names = ", ".join(member.name for member in found or known)
    problem = "means more than one member" if found else "is no member"
    raise UsageError(f"{text!r} {problem}: {'they are' if found else 'members are'} {names}")
