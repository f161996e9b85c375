"""The peer book: whom to dial when."""

from __future__ import annotations

from random import Random

import pytest

from cis.model import NodeId
from cis.peers import PeerBook, State, Target
from cis.peers.book import ADDRESSES_MAX, BACKOFF_CEILING_S, ICE, ICE_AFTER_S, PEERS_MAX, STIR_S

OWN = NodeId(b"o" * 32)
PEER = NodeId(b"p" * 32)


def target(node: NodeId | None = PEER, host: str = "192.0.2.1", port: int = 7677) -> Target:
    return Target(node, host, port, "static")


@pytest.fixture
def book() -> PeerBook:
    return PeerBook(OWN, Random(7))


def test_a_sighted_peer_is_due_at_once_and_only_once(book: PeerBook) -> None:
    book.sighted(target(), now=5.0)
    assert book.due(5.0, set()) == [target()]
    assert book.due(5.0, set()) == []  # its dial is under way


def test_this_node_itself_is_never_dialled(book: PeerBook) -> None:
    book.sighted(target(OWN), now=0.0)
    assert book.due(0.0, set()) == []


def test_a_connected_peer_is_not_dialled_and_a_lost_one_soon_is(book: PeerBook) -> None:
    book.sighted(target(), now=0.0)
    book.due(0.0, set())
    book.connected(PEER, 1.0, target())
    assert book.due(1.0, {PEER}) == []
    book.lost(PEER, 2.0, "idle")
    due = book.next_due(set())
    assert due is not None
    assert 2.0 <= due <= 3.0
    peer = book.get(PEER)
    assert peer is not None
    assert (peer.state, peer.last_error) == (State.INACTIVE, "idle")


def test_backoff_grows_to_its_ceiling_and_a_connection_resets_it(book: PeerBook) -> None:
    book.sighted(target(), now=0.0)
    now, waits = 0.0, []
    for _ in range(40):
        assert book.due(now, set()) == [target()]
        book.failed(target(), now, "no answer")
        due = book.next_due(set())
        assert due is not None
        waits.append(due - now)
        now = due
    assert max(waits[:3]) <= 4.0
    assert 10.0 < max(waits) <= BACKOFF_CEILING_S
    book.connected(PEER, now, target())
    book.lost(PEER, now, "gone")
    due = book.next_due(set())
    assert due is not None
    assert due - now <= 0.5


def test_all_addresses_of_a_peer_are_dialled_at_once_and_it_backs_off_when_all_failed(book: PeerBook) -> None:
    hosts = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    for host in hosts:
        book.sighted(target(host=host), now=1.0)
    dials = book.due(1.0, set())
    assert sorted(dial.host for dial in dials) == hosts
    for dial in dials[:2]:
        book.failed(dial, 1.0, "no answer")
    assert book.due(100.0, set()) == []  # the third is still under way
    book.failed(dials[2], 1.0, "no answer")
    assert book.due(1.0, set()) == []
    assert len(book.due(1.0 + BACKOFF_CEILING_S, set())) == 3


def test_a_new_address_is_dialled_while_an_old_one_hangs(book: PeerBook) -> None:
    book.sighted(target(), now=0.0)
    book.due(0.0, set())
    fresh = target(host="192.0.2.9")
    book.sighted(fresh, now=1.0)
    assert book.due(1.0, set()) == [fresh]


def test_an_address_without_a_name_becomes_its_node_once_that_is_known(book: PeerBook) -> None:
    anonymous = target(None)
    book.sighted(anonymous, now=0.0)
    assert book.due(0.0, set()) == [anonymous]
    book.connected(PEER, 1.0, anonymous)
    assert [peer.node for peer in book] == [PEER]


def test_an_address_that_leads_to_ourselves_is_forgotten(book: PeerBook) -> None:
    book.sighted(target(None), now=0.0)
    book.due(0.0, set())
    book.forget(target(None))
    assert list(book) == []


def test_peers_and_addresses_are_bounded(book: PeerBook) -> None:
    for number in range(PEERS_MAX + 10):
        book.sighted(target(NodeId(number.to_bytes(32, "big"))), now=0.0)
    assert len(list(book)) == PEERS_MAX
    for port in range(1, ADDRESSES_MAX + 10):
        book.sighted(target(NodeId(bytes(31) + b"\x05"), port=port), now=0.0)
    peer = book.get(NodeId(bytes(31) + b"\x05"))
    assert peer is not None
    assert len(peer.addresses) == ADDRESSES_MAX


# --- ICE -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def carried() -> set[NodeId]:
    """The nodes somebody can carry signals to."""
    return {PEER}


@pytest.fixture
def reaching(carried: set[NodeId]) -> PeerBook:
    return PeerBook(OWN, Random(7), carried.__contains__)


NEGOTIATION = Target(PEER, "", 0, ICE)


def test_ice_is_tried_a_moment_after_the_addresses_and_beside_them(reaching: PeerBook) -> None:
    reaching.sighted(target(), now=5.0)
    assert reaching.due(5.0, set()) == [target()]
    assert reaching.next_due(set(), 5.0) == 5.0 + ICE_AFTER_S
    assert reaching.due(5.0 + ICE_AFTER_S, set()) == [NEGOTIATION]
    assert reaching.due(6.0, set()) == []


def test_ice_does_not_wait_for_addresses_that_failed_or_are_not_known(reaching: PeerBook) -> None:
    reaching.sighted(target(), now=5.0)
    reaching.due(5.0, set())
    reaching.failed(target(), 5.1, "no answer")
    assert reaching.due(5.1, set()) == [NEGOTIATION]
    other = PeerBook(OWN, Random(7), lambda _: True)
    assert other.heard(PEER)
    assert other.due(0.0, set()) == [NEGOTIATION]


def test_ice_is_not_tried_where_nobody_can_carry_signals(reaching: PeerBook, carried: set[NodeId]) -> None:
    carried.clear()
    reaching.sighted(target(), now=0.0)
    reaching.due(0.0, set())
    assert reaching.next_due(set(), 0.0) is None
    reaching.failed(target(), 1.0, "no answer")
    due = reaching.next_due(set(), 1.0)
    assert due is not None
    assert reaching.due(due, set()) == [target()]


def test_a_round_is_over_when_ice_has_failed_too(reaching: PeerBook) -> None:
    reaching.sighted(target(), now=0.0)
    reaching.due(0.0, set())
    reaching.due(ICE_AFTER_S, set())
    reaching.failed(target(), 1.0, "no answer")
    peer = reaching.get(PEER)
    assert peer is not None
    assert (peer.streak, reaching.due(1.0, set())) == (0, [])
    reaching.failed(NEGOTIATION, 2.0, "no path")
    assert peer.streak == 1
    assert peer.due_at > 2.0


def test_a_connection_frees_the_slots_of_the_dials_that_lost(reaching: PeerBook) -> None:
    reaching.sighted(target(), now=0.0)
    reaching.sighted(target(port=7), now=0.0)
    reaching.due(0.0, set())
    reaching.due(ICE_AFTER_S, set())
    assert reaching.connected(PEER, 1.0, NEGOTIATION)
    peer = reaching.get(PEER)
    assert peer is not None
    assert not peer.under_way
    assert peer.ice.successes == 1
    assert not reaching.connected(PEER, 1.0, NEGOTIATION)


def test_ice_is_no_address(reaching: PeerBook) -> None:
    assert reaching.heard(PEER)
    reaching.due(0.0, set())
    reaching.connected(PEER, 1.0, NEGOTIATION)
    peer = reaching.get(PEER)
    assert peer is not None
    assert peer.addresses == []


def test_a_change_of_the_network_ends_all_waiting(reaching: PeerBook) -> None:
    reaching.sighted(target(), now=0.0)
    for _ in range(8):
        now = reaching.next_due(set()) or 0.0
        for one in (*reaching.due(now, set()), *reaching.due(now + ICE_AFTER_S, set())):
            reaching.failed(one, now + 1.0, "no answer")
    peer = reaching.get(PEER)
    assert peer is not None
    peer.due_at = 100.0
    reaching.stir(50.0)
    assert 50.0 <= peer.due_at <= 50.0 + STIR_S
    assert reaching.due(50.0 + STIR_S, set()) == [target()]
