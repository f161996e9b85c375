"""Members by name: read from the log, unique, the same on every node that has the same log."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from cis.errors import UsageError
from cis.model import NodeId, SpaceId
from cis.trust.entries import SignedEntry
from cis.wire.membership import NAME_PATTERN, Grant, Role

NAME_LENGTH_MAX = 32


@dataclass(frozen=True, slots=True)
class Member:
    """A node the cluster admitted. Of several grants the strongest role holds, and all their spaces.

    Name and sealing key are those of the last grant. ``since_ms`` is when its issuer dated the first (Unix).
    """

    node: NodeId
    name: str
    role: Role
    spaces: frozenset[SpaceId]
    sealing_key: bytes
    since_ms: int


def check_name(name: str) -> str:
    """Return the name; `UsageError` when it is not 1 to 32 of a-z, 0-9 and the hyphen."""
    if re.search(NAME_PATTERN, name) is None:
        raise UsageError(f"{name[:40]!r} cannot name a node: use 1 to 32 of a-z, 0-9 and the hyphen")
    return name


def free_name(wanted: str, taken: Collection[str]) -> str:
    """Return ``wanted``, or with the least suffix (``-2``, ``-3`` …) that is not taken."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        suffix = f"-{number}"
        name = wanted[: NAME_LENGTH_MAX - len(suffix)] + suffix
    return name


def name_members(ranked: Iterable[SignedEntry]) -> dict[NodeId, Member]:
    """Read the members from entries ordered by rank.

    Two concurrent grants may give one name to two nodes: the one ranked first keeps it, the other gets a
    suffix, until an admin grants it another.
    """
    grants: dict[NodeId, list[tuple[Grant, int]]] = {}
    for entry in ranked:
        if entry.grant is not None:
            # Taken out and put back, so that the nodes end up in the order of their last grants.
            earlier = grants.pop(entry.grant.subject, [])
            grants[entry.grant.subject] = [*earlier, (entry.grant, entry.statement.issued_ms)]
    members: dict[NodeId, Member] = {}
    taken: set[str] = set()
    for node, given in grants.items():
        last, _ = given[-1]
        name = free_name(last.name, taken)
        taken.add(name)
        role = min(grant.role for grant, _ in given)
        spaces = frozenset(space for grant, _ in given for space in grant.spaces)
        members[node] = Member(node, name, role, spaces, last.sealing_key, given[0][1])
    return members
