"""Whether this node is still a member, as far as it knows: by its own log, else by what members told it."""

from __future__ import annotations

from cis.api.membership.membership_history import removals
from cis.api.text import escaped
from cis.node.home.local import LocalNode
from cis.node.home.recording import TOLD_OF_REMOVAL

_ADMITTED = "admitted"
_LOOKED_AT_MAX = 200
"""Decisions looked through for the last word on this node."""


def removal_of(local: LocalNode) -> tuple[str, int] | None:
    """Who removed this node, or told it that it was removed, and when (Unix ms); None for a member.

    A removed node is not shown the entry that removed it unless it asks an admin, so what a member said when it ended
    the connection counts until one lets this node in again.
    """
    cluster = local.cluster
    if cluster.removed:
        own = local.identity.node
        found = [one for one in removals(cluster.membership) if one.node == own and not one.spaces]
        return (found[-1].by or "the recovery key", found[-1].at_ms) if found else ("an admin", 0)
    for decision in reversed(local.decisions(_LOOKED_AT_MAX)):
        if decision.what == _ADMITTED:
            return None
        if decision.what == TOLD_OF_REMOVAL and decision.node is not None:
            by = decision.detail.rpartition(" by ")[2] if " by " in decision.detail else "an admin"
            return f"{escaped(by)}, as {cluster.name_of(decision.node)} told", decision.at_ms
    return None
