"""Operations on spaces: listed, made, how much is kept; what a space is called, also by who cannot read its name."""

from __future__ import annotations

from cis.api.membership.trust_schema import CreateSpace, KeepSpace, Kept, ListSpaces, SpaceInfo, SpaceMember
from cis.api.peers.network_schema import RoleName
from cis.errors import UsageError
from cis.model import NodeId, SpaceId
from cis.node.home.local import LocalNode
from cis.store.keeping import Keep, count_absent, holders, keep_of, set_keep
from cis.trust import PRIVATE
from cis.wire.membership import Role

ID_CHARACTERS_MIN = 6
"""How much of a space's id must be typed where it has no readable name."""
ROLE_NAMES: dict[Role, RoleName] = {
    Role.ADMIN: "admin",
    Role.WRITER: "writer",
    Role.READER: "reader",
    Role.BLIND: "blind",
}
ROLES: dict[str, Role] = {name: role for role, name in ROLE_NAMES.items()}


class SpaceNames:
    """The spaces there are, by name as of now; one whose name this node cannot read by the beginning of its id."""

    def __init__(self, local: LocalNode) -> None:
        self._membership = local.cluster.membership
        self._names = {space: local.cluster.space_name(space) for space in self._membership.spaces()}
        self.spaces: tuple[SpaceId, ...] = tuple(self._names)

    def name(self, space: SpaceId) -> str:
        """Return what a space is called here."""
        return self._names.get(space) or space.hex()[:8]

    def find(self, text: str) -> SpaceId:
        """Return the space of a name, or of an id or its beginning; `UsageError` where it is not just one."""
        if text == PRIVATE:
            raise UsageError("the private space is this node's alone: it is shared with nobody")
        named = [space for space, name in self._names.items() if name == text]
        wanted = text.lower() if len(text) >= ID_CHARACTERS_MIN else "-"
        found = named or [space for space in self.spaces if space.hex().startswith(wanted)]
        if len(found) == 1:
            return found[0]
        problem = "means more than one space" if found else "is no space"
        known = ", ".join(sorted(self.name(space) for space in found or self.spaces))
        raise UsageError(f"{text!r} {problem}: there are {known} (`cis space list` says more)")

    def roles(self, node: NodeId) -> dict[str, RoleName]:
        """Return the role a member has in each space, the spaces by name."""
        found = ((self.name(space), self._membership.space_role(node, space)) for space in self.spaces)
        return {name: ROLE_NAMES[role] for name, role in sorted(found) if role is not None}


def elsewhere(local: LocalNode) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return of the spaces of which not everything is kept how many bodies are on other devices by choice.

    Behind it stand those of which no other member is known to keep everything.
    """
    names, own = SpaceNames(local), local.identity.node
    with local.store.snapshot() as reader:
        connection = reader.connection
        partial = [space for space in names.spaces if keep_of(connection, space).partial]
        unbacked = tuple(names.name(space) for space in partial if not holders(connection, space, own))
        return {names.name(space): count_absent(connection, space) for space in partial}, unbacked


class SpaceOperations:
    """Lists and makes spaces; blocking."""

    def __init__(self, local: LocalNode) -> None:
        self._local = local

    def spaces(self, _: ListSpaces) -> tuple[SpaceInfo, ...]:
        """List the spaces held here, the readable ones first, this node's private one last."""
        cluster, names = self._local.cluster, SpaceNames(self._local)
        known = cluster.keys.spaces
        held = sorted(
            cluster.shared(), key=lambda space: (space not in known, space != cluster.public, names.name(space))
        )
        return (*(self._info(space, names) for space in held), self._private())

    def create(self, request: CreateSpace) -> SpaceInfo:
        """Make a space for all admins and the members named."""
        cluster = self._local.cluster
        members = [cluster.find(name).node for name in request.members]
        if request.name in cluster.spaces():
            raise UsageError(f"there is a space {request.name!r} already: choose another name")
        space = self._local.create_space(request.name, members)
        return self._info(space, SpaceNames(self._local))

    def keep(self, request: KeepSpace) -> SpaceInfo:
        """Take up what is to be kept of a space; bodies come and go later, as others tell what they hold."""
        names = SpaceNames(self._local)
        space, local = names.find(request.space), self._local
        keeps = request.keeps
        chosen = bool(keeps.prefixes or keeps.categories)
        wanted = Keep(
            vectors=keeps.vectors,
            names=keeps.names and not chosen,
            prefixes=tuple(sorted(set(keeps.prefixes))),
            categories=tuple(sorted(set(keeps.categories))),
        )
        if wanted.selective and space not in local.cluster.keys.spaces:
            raise UsageError(
                f"{request.space} cannot be read here, so nothing can be told of its values: keep them all"
            )
        local.store.execute(lambda connection: set_keep(connection, space, wanted, local.entropy)).result()
        return self._info(space, names)

    def _info(self, space: SpaceId, names: SpaceNames) -> SpaceInfo:
        cluster, holdings = self._local.cluster, self._local.store.holdings(space)
        with self._local.store.snapshot() as reader:
            keep, elsewhere = keep_of(reader.connection, space), count_absent(reader.connection, space)
            holding = holders(reader.connection, space, self._local.identity.node)
        membership = cluster.membership
        roles = [(member.name, membership.space_role(member.node, space)) for member in membership.members()]
        role = membership.space_role(self._local.identity.node, space)
        return SpaceInfo(
            name=names.name(space),
            id=space.hex(),
            role=ROLE_NAMES[role] if role is not None else None,
            readable=space in cluster.keys.spaces,
            usable=membership.epoch(space) is not None,
            members=tuple(SpaceMember(name, ROLE_NAMES[has]) for name, has in sorted(roles) if has is not None),
            memories=holdings.memories,
            changes=holdings.changes,
            bytes=holdings.bytes,
            keeps=Kept(vectors=keep.vectors, names=keep.names, prefixes=keep.prefixes, categories=keep.categories),
            elsewhere=elsewhere,
            kept_by=tuple(sorted(cluster.name_of(node) for node, held in holding.items() if held.seqs)),
        )

    def _private(self) -> SpaceInfo:
        cluster = self._local.cluster
        holdings = self._local.store.holdings(cluster.private)
        return SpaceInfo(
            name=PRIVATE,
            id=cluster.private.hex(),
            role=None,
            readable=True,
            usable=True,
            members=(),
            memories=holdings.memories,
            changes=holdings.changes,
            bytes=holdings.bytes,
        )
