"""Verifying the whole store: pages, signatures, and that what is shown follows from the changes. It mends nothing."""

from __future__ import annotations

from cis.api.health.doctor_schema import Integrity
from cis.node.home.local import LocalNode
from cis.store.audit_check import check_space


def check_store(local: LocalNode) -> Integrity:
    """Return what is wrong with a node's store; blocks for about a second for each hundred thousand changes."""
    spaces = [*local.cluster.shared(), local.cluster.private]
    with local.store.snapshot() as reader:
        found = [check_space(reader, space, local.clock_ms()) for space in spaces]
    return Integrity(
        changes=sum(one.changes for one in found),
        damaged=sum(len(one.damaged) for one in found),
        wrong=sum(len(one.suspects) for one in found),
        complaints=tuple(local.store.check()),
    )
