"""The peer book: whom to dial when."""

from __future__ import annotations

from random import Random

import pytest

from cis.model import NodeId
from cis.peers import Address, Peer, PeerBook, State, Target
from cis.peers.backoff import BACKOFF_CEILING_S
from cis.peers.book import STIR_S
from cis.peers.peer import ICE, ICE_AFTER_S
from cis.peers.shelf import ADDRESSES_MAX, PEERS_MAX

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


# --- what is kept ----------------------------------------------------------------------------------------------------


def numbered(number: int) -> NodeId:
    return NodeId(number.to_bytes(32, "big"))


def full(book: PeerBook) -> None:
    for number in range(PEERS_MAX):
        book.sighted(target(numbered(number)), now=0.0)
    book.due(0.0, set())
    for number in range(PEERS_MAX):
        for _ in range(2 if number in {3, 5, 7} else 1):
            book.failed(target(numbered(number)), 1.0, "no answer")


def test_the_worst_goes_but_nobody_who_is_connected_or_wanted_or_being_dialled(book: PeerBook) -> None:
    full(book)
    book.connected(numbered(3), 2.0, None)
    book.pinned.add(numbered(5))
    book.sighted(target(numbered(PEERS_MAX)), now=3.0)
    assert [number for number in (3, 5, 7, PEERS_MAX) if book.get(numbered(number)) is None] == [7]
    for number in (3, 5):
        assert book.get(numbered(number)) is not None
    assert len(list(book)) == PEERS_MAX


def test_the_worst_address_goes_but_none_that_is_in_use_or_that_a_user_gave(book: PeerBook) -> None:
    book.sighted(Target(PEER, "192.0.2.100", 1, "static", "user"), now=0.0)
    for port in range(1, ADDRESSES_MAX):
        book.sighted(target(port=port), now=0.0)
    book.due(0.0, set())
    book.connected(PEER, 1.0, target(port=2))
    for _ in range(3):
        book.failed(Target(PEER, "192.0.2.100", 1, "static"), 1.0, "no answer")
        book.failed(target(port=2), 1.0, "no answer")
        book.failed(target(port=9), 1.0, "no answer")
    book.sighted(target(port=99), now=2.0)
    peer = book.get(PEER)
    assert peer is not None
    ports = [one.port for one in peer.addresses if one.host == "192.0.2.1"]
    assert 9 not in ports
    assert {2, 99} <= set(ports)
    assert peer.addresses[0].host == "192.0.2.100"


# --- what is learnt --------------------------------------------------------------------------------------------------


def test_a_round_that_fails_is_one_failure_of_the_peer_and_one_of_each_address(book: PeerBook) -> None:
    for port in (1, 2, 3):
        book.sighted(target(port=port), now=0.0)
    for dial in book.due(0.0, set()):
        book.failed(dial, 1.0, f"no answer at {dial.port}")
    peer = book.get(PEER)
    assert peer is not None
    assert (peer.failures, [one.failures for one in peer.addresses]) == (1, [1, 1, 1])
    assert [one.last_error for one in peer.addresses] == [f"no answer at {port}" for port in (1, 2, 3)]


def test_a_new_address_ends_the_pauses_and_an_old_one_told_again_does_not(book: PeerBook) -> None:
    book.sighted(target(), now=0.0)
    for _ in range(10):
        now = book.next_due(set()) or 0.0
        book.due(now, set())
        book.failed(target(), now, "no answer")
    peer = book.get(PEER)
    assert peer is not None
    peer.due_at = now + 50.0
    book.sighted(target(), now=now)
    assert (peer.streak, peer.due_at) == (10, now + 50.0)
    book.sighted(target(port=8), now=now)
    assert (peer.streak, peer.due_at) == (0, now)


def test_the_best_address_is_dialled_first_of_many(book: PeerBook) -> None:
    for port in range(1, 9):
        book.sighted(target(port=port), now=0.0)
    peer = book.get(PEER)
    assert peer is not None
    peer.addresses[6].count_success(0.0)
    peer.addresses[2].count_failure(0.0)
    first, *others = (dial.port for dial in book.due(1.0, set()))
    assert first == 7
    assert len(others) == 3
    assert 3 not in others


def test_the_best_peer_is_dialled_first(book: PeerBook) -> None:
    for number in range(3):
        book.sighted(target(numbered(number)), now=0.0)
    best = book.get(numbered(2))
    assert best is not None
    best.count_success(0.0)
    assert [dial.node for dial in book.due(1.0, set())] == [numbered(2), numbered(0), numbered(1)]


def test_what_a_connection_runs_on_and_its_round_trip_are_kept_with_the_address_it_came_by(book: PeerBook) -> None:
    book.sighted(target(), now=0.0)
    book.sighted(target(port=8), now=0.0)
    book.connected(PEER, 1.0, target())
    book.measured(PEER, 6.0, "mapped", ("198.51.100.1", 9), 0.05)
    peer = book.get(PEER)
    assert peer is not None
    used, other = peer.addresses
    assert (peer.kind, peer.place, peer.seen_at, peer.rtt_s) == ("mapped", ("198.51.100.1", 9), 6.0, 0.05)
    assert (used.kind, used.rtt_s) == ("mapped", 0.05)
    assert (other.kind, other.rtt_s) == ("", None)
    book.measured(PEER, 70.0, "mapped", ("192.0.2.1", 8), None)
    assert other.succeeded_at == 70.0, "the peer speaks from there: it is to be reached there"
    book.lost(PEER, 80.0, "gone")
    book.measured(PEER, 90.0, "lan", ("192.0.2.1", 8), 0.01)
    assert (peer.kind, peer.seen_at) == ("mapped", 80.0), "what is measured of a connection that is gone counts no more"


def test_an_address_that_a_connection_was_made_by_is_entered(book: PeerBook) -> None:
    book.connected(PEER, 1.0, target(port=5))
    peer = book.get(PEER)
    assert peer is not None
    assert [(one.port, one.successes, one.in_use) for one in peer.addresses] == [(5, 1, True)]
    book.connected(numbered(1), 1.0, Target(numbered(1), "example.org", 5, "static"))
    named = book.get(numbered(1))
    assert named is not None
    assert named.addresses == [], "a name is no address: it is resolved anew by whoever keeps it"


def test_who_found_an_address_is_kept_and_a_users_word_goes_before_it(book: PeerBook) -> None:
    book.sighted(Target(PEER, "192.0.2.1", 7677, "member", "anchor example.org"), now=0.0)
    book.sighted(Target(PEER, "192.0.2.1", 7677, "mdns", "mdns"), now=0.0)
    peer = book.get(PEER)
    assert peer is not None
    assert peer.found_by == "anchor example.org"
    book.sighted(Target(PEER, "192.0.2.1", 7677, "static", "user"), now=0.0)
    assert (peer.found_by, peer.addresses[0].source) == ("user", "static")
    book.connected(numbered(1), 0.0, None)
    came = book.get(numbered(1))
    assert came is not None
    assert came.found_by == "incoming"


def test_what_an_earlier_run_knew_is_dialled_at_once_and_does_not_undo_what_is_known_now(book: PeerBook) -> None:
    remembered = Peer(PEER, successes=3, addresses=[Address("192.0.2.1", 1, "mdns", "mdns", known_at=-50.0)])
    book.recall(remembered, 10.0)
    assert [dial.port for dial in book.due(10.0, set())] == [1]
    peer = book.get(PEER)
    assert peer is not None
    assert peer.state is State.INACTIVE
    book.connected(PEER, 11.0, target(port=1))
    book.recall(Peer(PEER, failures=9, addresses=[Address("192.0.2.1", 2, "mdns", known_at=-50.0)]), 12.0)
    assert (peer.state, peer.failures, [one.port for one in peer.addresses]) == (State.ACTIVE, 0, [1, 2])
    book.recall(Peer(OWN, addresses=[Address("192.0.2.1", 3, "mdns")]), 12.0)
    assert book.get(OWN) is None
