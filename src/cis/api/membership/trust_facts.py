"""What a node knows of its cluster that bears on security, gathered for `cis doctor`."""

from __future__ import annotations

from collections.abc import Mapping

from cis.api.health.doctor_schema import TrustFacts
from cis.model import NodeId
from cis.node.home.local import LocalNode
from cis.store.database import fetch
from cis.wire.membership import NO_SPACE, EntryKind, Role, decode_grant

DISCOVERY = "discovery key"
_DAY_MS = 86_400_000


def trust_facts(local: LocalNode, skews_ms: Mapping[NodeId, int]) -> TrustFacts:
    """Return the facts; ``skews_ms`` are those a running node measured."""
    cluster = local.cluster
    membership = cluster.membership
    entries = [known.entry for known in membership.log.known.values()]
    made_ms = [one.statement.issued_ms for one in entries if one.founding or one.statement.kind == EntryKind.ROTATE]
    members = membership.members()
    granted = {decode_grant(one.statement.body).subject for one in entries if one.statement.kind == EntryKind.GRANT}
    return TrustFacts(
        members=len(members),
        admins=tuple(member.name for member in members if member.role is Role.ADMIN),
        removed=sum(membership.revoked(node) for node in granted),
        recovery=any(one.founding and one.attachment for one in entries),
        unrenewed=tuple(_unrenewed(local)),
        lacking=tuple(sorted({cluster.name_of(node) for node, _, _ in membership.lacking()})),
        renewed_ms=max(made_ms),
        now_ms=local.clock_ms(),
        tickets_ms=tuple(sorted(one.expires_ms for one in cluster.invitations.live() if one.redeemed_by is None)),
        silent_days=_silent_days(local),
        skews_ms={cluster.name_of(node): skew for node, skew in skews_ms.items()},
    )


def _unrenewed(local: LocalNode) -> list[str]:
    membership, names = local.cluster.membership, local.cluster.membership.space_names(local.cluster.keys)
    spaces = [space for space in membership.spaces() if membership.epoch(space) is None]
    found = [names.get(space, "a space this node cannot read") for space in spaces]
    return [DISCOVERY, *found] if membership.epoch(NO_SPACE) is None else found


def _silent_days(local: LocalNode) -> dict[str, int]:
    with local.store.snapshot() as reader:
        rows = fetch(reader.connection, "SELECT node, min(silent_ms) FROM report GROUP BY node")
    silent = {NodeId(node): silent_ms // _DAY_MS for node, silent_ms in rows}
    members = local.cluster.membership.members()
    return {one.name: silent[one.node] for one in members if one.node in silent and one.node != local.identity.node}
