"""Members by name: read from the log, unique, the same on every node that has the same log."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cis.errors import UsageError
from cis.model import NodeId, SpaceId
from cis.trust.keys import PRIVATE, PUBLIC, open_name
from cis.trust.log import Known
from cis.trust.rights import Rights
from cis.trust.sealing import SpaceKeys
from cis.trust.standing import follows
from cis.wire.membership import NAME_PATTERN, NewSpace, Role

NAME_LENGTH_MAX = 32


@dataclass(frozen=True, slots=True)
class Member:
    """A node the cluster admitted.

    ``role`` is the strongest of its grants, ``roles`` what it may do in each space it shares; an admin is one
    in every space. Name and sealing key are those of the last grant, ``since_ms`` when its issuer dated the
    first (Unix).
    """

    node: NodeId
    name: str
    role: Role
    roles: Mapping[SpaceId, Role]
    sealing_key: bytes
    since_ms: int

    @property
    def spaces(self) -> frozenset[SpaceId]:
        """The spaces it shares, whatever its role there."""
        return frozenset(self.roles)


def check_name(name: str) -> str:
    """Return the name; `UsageError` when it is not 1 to 32 of a-z, 0-9 and the hyphen."""
    if re.search(NAME_PATTERN, name) is None:
        raise UsageError(f"{name[:40]!r} cannot name a node: use 1 to 32 of a-z, 0-9 and the hyphen")
    return name


def check_space_name(name: str) -> str:
    """Return the name; `UsageError` when it cannot name a space, or names one that every node has."""
    if re.search(NAME_PATTERN, name) is None:
        raise UsageError(f"{name[:40]!r} cannot name a space: use 1 to 32 of a-z, 0-9 and the hyphen")
    if name in (PUBLIC, PRIVATE):
        raise UsageError(f"there is a space {name!r} already, on every node: choose another name")
    return name


def free_name(wanted: str, taken: Collection[str]) -> str:
    """Return ``wanted``, or with the least suffix (``-2``, ``-3`` …) that is not taken."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        suffix = f"-{number}"
        name = wanted[: NAME_LENGTH_MAX - len(suffix)] + suffix
    return name


def name_members(ranked: Iterable[Known], rights: Rights, spaces: Sequence[SpaceId]) -> dict[NodeId, Member]:
    """Read the members from the grants that hold, ordered by rank; ``spaces`` are those there are.

    Two concurrent grants may give one name to two nodes: the one ranked first keeps it, the other gets a
    suffix, until an admin grants it another.
    """
    grants: dict[NodeId, list[Known]] = {}
    for known in ranked:
        assert known.entry.grant is not None
        # Taken out and put back, so that the nodes end up in the order of their last grants.
        earlier = grants.pop(known.entry.grant.subject, [])
        grants[known.entry.grant.subject] = [*earlier, known]
    members: dict[NodeId, Member] = {}
    taken: set[str] = set()
    for node, given in grants.items():
        bodies = [known.entry.grant for known in given if known.entry.grant is not None]
        last = bodies[-1]
        name = free_name(last.name, taken)
        taken.add(name)
        role = min(grant.role for grant in bodies)
        roles = dict.fromkeys(spaces, role) if role is Role.ADMIN else _roles(node, given, rights)
        members[node] = Member(node, name, role, roles, last.sealing_key, given[0].entry.statement.issued_ms)
    return members


def name_spaces(sealed: Iterable[tuple[NewSpace, SpaceKeys]]) -> dict[SpaceId, str]:
    """Read the names of spaces, ordered by rank, whose keys are held; what cannot be read is called ``space``.

    A name stays unique by a suffix, and never is one of those every node has.
    """
    names: dict[SpaceId, str] = {}
    taken = {PUBLIC, PRIVATE}
    for new, keys in sealed:
        names[new.space] = free_name(open_name(keys, new.name) or "space", taken)
        taken.add(names[new.space])
    return names


def _roles(node: NodeId, given: Sequence[Known], rights: Rights) -> dict[SpaceId, Role]:
    """The strongest role in each space of the grants that no revocation took it from."""
    roles: dict[SpaceId, Role] = {}
    for known in given:
        grant = known.entry.grant
        assert grant is not None
        for space in grant.spaces:
            if all(follows(known, revoke) for revoke in rights.covering(node, space)):
                roles[space] = min(grant.role, roles.get(space, grant.role))
    return roles
