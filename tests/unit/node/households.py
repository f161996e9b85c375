"""Nodes of one cluster without any network: what one knows is told to another by the test."""

from __future__ import annotations

from pathlib import Path

from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.trust import ClusterKeys, Membership
from cis.wire.joining import JoinRequest
from cis.wire.membership import Role


def household(folder: Path, *others: tuple[str, Role]) -> list[LocalNode]:
    """Make a founder and members with these names and roles, all of whom know each other."""
    founder = LocalNode.create(Home(folder / "founder"), "founder")
    nodes = [founder, *(admitted(founder, LocalNode.create(Home(folder / name), name), role) for name, role in others)]
    for node in nodes[1:]:
        tell(founder, node)
    return nodes


def admitted(issuer: LocalNode, joiner: LocalNode, role: Role) -> LocalNode:
    """Take a node into the issuer's cluster."""
    ticket = issuer.cluster.invite(issuer.store, role, None, 60_000, ())
    request = JoinRequest(joiner.identity.sealing_public, joiner.home.folder.name)
    entries = issuer.cluster.admit(issuer.store, ticket.id, joiner.identity.node, request)
    membership = Membership(ticket.cluster, entries)
    keys = membership.keys_of(joiner.identity, ClusterKeys.none(joiner.cluster.keys.private))
    joiner.adopt(ticket.cluster, keys, membership)
    return joiner


def tell(teller: LocalNode, listener: LocalNode) -> int:
    """Tell what the other lacks of the membership log; returns how many entries were new to it."""
    missing = teller.cluster.membership.entries_missing_from(listener.cluster.membership.ids())
    return listener.cluster.add_entries(missing, listener.store)


def close(nodes: list[LocalNode]) -> None:
    for node in nodes:
        node.close()
