"""What becomes known of the cluster, in the record of decisions: whoever decided it, here or elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cis.node.membership.cluster import Changed
from cis.trust import SignedEntry
from cis.wire.membership import NO_SPACE, EntryKind, decode_new_space, decode_revoke, decode_rotate

if TYPE_CHECKING:
    from cis.node.home.local import LocalNode

TOLD_ONE_BY_ONE_MAX = 64
"""Entries at once that are recorded each; more are a log met for the first time, and one line."""
TOLD_OF_REMOVAL = "told of removal"
"""The decision on record when a member told this node that it is a member no more; it may have no proof of it."""


def record_changes(local: LocalNode, changed: Changed) -> None:
    """Record what new membership entries say, and what they led to in the store."""
    if len(changed.entries) > TOLD_ONE_BY_ONE_MAX:
        local.record("learned", None, f"{len(changed.entries)} entries of the membership log")
    else:
        for entry in changed.entries:
            _record_entry(local, entry)
    if changed.withdrawn:
        text = "1 change" if changed.withdrawn == 1 else f"{changed.withdrawn} changes"
        local.record("withdrawn", None, f"{text} beyond the cut of a removal")


def _record_entry(local: LocalNode, entry: SignedEntry) -> None:
    cluster, statement = local.cluster, entry.statement
    by = f"by {cluster.decider(statement.issuer)}"
    match statement.kind:
        case EntryKind.GRANT if entry.grant is not None:
            spaces = ", ".join(cluster.space_name(space) for space in sorted(entry.grant.spaces)) or "all spaces"
            local.record("granted", entry.grant.subject, f"{entry.grant.role.name.lower()} in {spaces}, {by}")
        case EntryKind.REVOKE:
            revoke = decode_revoke(statement.body)
            spaces = ", ".join(cluster.space_name(space) for space in sorted(revoke.spaces)) or "the cluster"
            local.record("revoked", revoke.subject, f"from {spaces}, {by}")
        case EntryKind.ROTATE:
            space = decode_rotate(statement.body).space
            what = "the discovery key" if space == NO_SPACE else f"the key of {cluster.space_name(space)}"
            local.record("rotated", statement.issuer, f"{what}, {by}")
        case EntryKind.SPACE:
            name = cluster.space_name(decode_new_space(statement.body).space)
            local.record("space created", statement.issuer, f"{name}, {by}")
