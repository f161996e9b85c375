"""Open tickets are listed without their secrets, and cancelled ones admit nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cis.api.embedded import EmbeddedNode
from cis.api.membership.trust_schema import CancelTicket, ListTickets
from cis.api.peers.network_schema import GetStatus
from cis.errors import PeerFault, UsageError
from cis.model import NodeId
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.node.home.recording import TOLD_OF_REMOVAL
from cis.trust import Identity, Ticket
from cis.wire.membership import Role


@pytest.fixture
def node(tmp_path: Path) -> Iterator[EmbeddedNode]:
    home = Home(tmp_path / "home")
    LocalNode.create(home, "solo").close()
    with EmbeddedNode(LocalNode.open(home)) as node:
        yield node


def invite(node: EmbeddedNode, role: Role = Role.WRITER, name: str | None = None, life_ms: int = 60_000) -> Ticket:
    return node.local.cluster.invite(node.local.store, role, name, life_ms, [])


def test_open_tickets_are_listed_and_none_of_them_shows_its_secret(node: EmbeddedNode) -> None:
    last, first = invite(node, name="phone", life_ms=90_000), invite(node, Role.ADMIN)
    listed = node.call(ListTickets())
    assert [(one.role, one.name, one.spaces) for one in listed] == [
        ("admin", None, ()),
        ("writer", "phone", ("public",)),
    ]
    assert [one.id for one in listed] == [first.id.hex()[:8], last.id.hex()[:8]]
    assert first.secret.hex() not in str(listed)


def test_a_cancelled_ticket_is_open_no_more_and_stays_so(node: EmbeddedNode) -> None:
    ticket = invite(node)
    cancelled = node.call(CancelTicket(id=ticket.id.hex()[:8]))
    assert cancelled.id == ticket.id.hex()[:8]
    assert node.call(ListTickets()) == ()
    invitations = node.local.cluster.invitations
    with pytest.raises(PeerFault):
        invitations.redeemed(ticket.id, NodeId(bytes(32)))
    invitations.load(node.local.store)
    assert invitations.all() == []


def test_what_names_no_open_ticket_is_refused(node: EmbeddedNode) -> None:
    invite(node)
    for text in ("", "zz", "0" * 32):
        with pytest.raises(UsageError, match="--list"):
            node.call(CancelTicket(id=text))
    assert len(node.call(ListTickets())) == 1


def test_an_expired_ticket_is_not_open(node: EmbeddedNode) -> None:
    invite(node, life_ms=0)
    assert node.call(ListTickets()) == ()


def test_a_node_that_was_told_of_its_removal_says_so_until_it_is_let_in_again(node: EmbeddedNode) -> None:
    peer = Identity.generate(bytes).node
    assert node.call(GetStatus()).removed_by is None
    node.local.record(TOLD_OF_REMOVAL, peer, "removed from the cluster by ana")
    told = node.call(GetStatus())
    assert told.removed_by is not None
    assert told.removed_by.startswith("ana, as ")
    assert told.removed_ms is not None
    node.local.record("admitted", peer, "the mode is open")
    assert node.call(GetStatus()).removed_by is None
