"""What each node may do at an entry of the membership log: read from the grants in that entry's ancestry."""

from __future__ import annotations

from cis.model import NodeId, SpaceId
from cis.trust.log import Known
from cis.wire.membership import Grant, Role


class Rights:
    """The grants of every node; an ancestry is a set of places in the log, as bits."""

    def __init__(self) -> None:
        self._grants: dict[NodeId, list[tuple[Known, Grant]]] = {}

    def admit(self, known: Known) -> None:
        """Take an entry into account."""
        grant = known.entry.grant
        if grant is not None:
            self._grants.setdefault(grant.subject, []).append((known, grant))

    def granted(self, node: NodeId) -> list[tuple[Known, Grant]]:
        """Return all grants of the node, in the order they became known."""
        return self._grants.get(node, [])

    def role_at(self, node: NodeId, ancestry: int) -> Role | None:
        """Return the strongest role the node has there, None for a node that is no member."""
        return min((grant.role for grant in self._at(node, ancestry)), default=None)

    def writes_at(self, node: NodeId, space: SpaceId, ancestry: int) -> bool:
        """Tell whether the node may write to the space there."""
        return any(
            grant.role is Role.ADMIN or (grant.role is Role.WRITER and space in grant.spaces)
            for grant in self._at(node, ancestry)
        )

    def _at(self, node: NodeId, ancestry: int) -> list[Grant]:
        return [grant for known, grant in self.granted(node) if ancestry >> known.place & 1]
