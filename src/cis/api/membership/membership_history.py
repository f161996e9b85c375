"""What the membership log tells of the past: who was removed, by whom and when; since when keys are in use.

Dates are those of whoever stated an entry, for people to read; nothing is decided by them.
"""

from __future__ import annotations

from dataclasses import dataclass

from cis.model import NodeId, SpaceId
from cis.trust import Membership
from cis.wire.membership import NewSpace, Revoke, Rotate


@dataclass(frozen=True, slots=True)
class Removal:
    """A removal in force; ``spaces`` are what was taken, none where it was the membership."""

    node: NodeId
    name: str
    spaces: tuple[SpaceId, ...]
    by: str
    """empty where the recovery key signed it"""
    at_ms: int


def removals(membership: Membership) -> tuple[Removal, ...]:
    """Return the latest removal of each node that is one still, in the order in which they were stated."""
    entries = [known.entry for known in sorted(membership.log.known.values(), key=lambda known: known.rank)]
    names = {entry.grant.subject: entry.grant.name for entry in entries if entry.grant is not None}
    found: dict[tuple[NodeId, tuple[SpaceId, ...]], Removal] = {}
    for entry in entries:
        if isinstance(entry.body, Revoke) and _in_force(membership, entry.issuer, entry.body):
            node, spaces = entry.body.subject, entry.body.spaces
            found.pop((node, spaces), None)
            by, at_ms = names.get(entry.issuer, ""), entry.statement.issued_ms
            found[node, spaces] = Removal(node, names.get(node, ""), spaces, by, at_ms)
    return tuple(found.values())


def keys_since(membership: Membership, space: SpaceId) -> int | None:
    """Return when the latest key of a space was made, NO_SPACE for the discovery key; None for an unknown space."""
    latest = membership.epochs(space)[-1:]
    since_ms = None
    for known in membership.log.known.values():
        entry = known.entry
        made = entry.founding or (isinstance(entry.body, NewSpace) and entry.body.space == space)
        renewed = isinstance(entry.body, Rotate) and entry.body.space == space and (entry.body.epoch,) == latest
        if renewed or (made and since_ms is None) or (made and not entry.founding and latest == (0,)):
            since_ms = entry.statement.issued_ms
    return since_ms


def _in_force(membership: Membership, issuer: NodeId, revoke: Revoke) -> bool:
    if not revoke.spaces:
        return membership.revoked(revoke.subject) and membership.removed_by(revoke.subject) == issuer
    member = membership.member(revoke.subject)
    return member is not None and not any(space in member.roles for space in revoke.spaces)
