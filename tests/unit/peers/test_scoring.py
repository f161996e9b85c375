"""What a peer is worth: the rate of success, the smoothed round trip, the score and the order, and the pauses."""

from __future__ import annotations

from random import Random

import pytest

from cis.model import NodeId
from cis.peers import Address, Peer, State
from cis.peers.backoff import BACKOFF_CEILING_S, BACKOFF_FLOOR_S, longest_s, pause_s
from cis.peers.places import is_address, is_local
from cis.peers.record import RATE_UNTRIED, RTT_S_MAX, STANDS_S, Record
from cis.peers.score import KINDS, WORKED, best_way, by_score, score_of, score_of_way

NOW = 100_000.0


def node(number: int) -> NodeId:
    return NodeId(number.to_bytes(32, "big"))


def peer(number: int = 1, *hosts: str, **fields: object) -> Peer:
    ways = [Address(host, 7677, "mdns", known_at=NOW) for host in hosts or ("192.0.2.1",)]
    return Peer(node(number), addresses=ways, **fields)


# --- records ---------------------------------------------------------------------------------------------------------


def test_the_last_outcomes_count_most() -> None:
    old, new = Record(), Record()
    for record, outcomes in ((old, "++++++++++----"), (new, "----++++++++++")):
        for outcome in outcomes:
            record.count_success(NOW) if outcome == "+" else record.count_failure(NOW)
    assert (old.successes, old.failures) == (new.successes, new.failures) == (10, 4)
    assert old.rate < 0.35
    assert new.rate > 0.9


def test_a_rate_stays_between_nothing_and_all() -> None:
    record = Record()
    assert record.rate == RATE_UNTRIED
    for _ in range(1000):
        record.count_failure(NOW)
    assert 0 <= record.rate < 1e-9
    for _ in range(1000):
        record.count_success(NOW)
    assert 1 - 1e-9 < record.rate <= 1


def test_a_connection_that_stands_counts_once_a_minute_and_as_no_other_success() -> None:
    record = Record()
    record.count_success(0.0)
    rate = record.rate
    for second in range(int(STANDS_S)):
        record.stand(float(second))
    assert record.rate == rate
    record.stand(STANDS_S)
    assert record.rate > rate
    assert (record.successes, record.succeeded_at) == (1, STANDS_S)


def test_round_trips_are_smoothed_as_tcp_does() -> None:
    record = Record()
    record.measure(0.1)
    assert (record.rtt_s, record.rtt_spread_s) == (0.1, 0.05)
    record.measure(0.2)
    assert record.rtt_spread_s == pytest.approx(0.75 * 0.05 + 0.25 * 0.1)
    assert record.rtt_s == pytest.approx(0.875 * 0.1 + 0.125 * 0.2)


def test_a_round_trip_that_cannot_be_is_cut_to_what_can() -> None:
    record = Record()
    record.measure(-5.0)
    assert record.rtt_s == 0.0
    record.measure(float("inf"))
    assert record.rtt_s == RTT_S_MAX / 8


# --- score -----------------------------------------------------------------------------------------------------------


def test_each_part_alone_decides_between_peers_that_are_otherwise_alike() -> None:
    better = [
        (peer(1, rate=0.9), peer(2, rate=0.5)),
        (peer(1, succeeded_at=NOW - 60), peer(2, succeeded_at=NOW - 7200)),
        (peer(1, succeeded_at=NOW - 60), peer(2)),
        (peer(1, rtt_s=0.01), peer(2, rtt_s=0.1)),
        (peer(1, rtt_s=0.1), peer(2)),
        (peer(1, kind="lan"), peer(2, kind="mapped")),
        (peer(1, kind="mapped"), peer(2, kind="punched")),
        (peer(1, kind="punched"), peer(2, kind="relayed")),
    ]
    for one, other in better:
        assert score_of(one, NOW).total > score_of(other, NOW).total
        assert by_score([other, one], NOW) == [one, other]


def test_a_score_is_between_0_and_1_and_the_same_for_the_same_moment() -> None:
    best = peer(rate=1.0, succeeded_at=NOW, rtt_s=0.0, kind="lan")
    worst = Peer(node(2), rate=0.0, rtt_s=RTT_S_MAX, kind="relayed")
    assert score_of(best, NOW).total == pytest.approx(1.0)
    assert 0 <= score_of(worst, NOW).total < 0.05
    assert score_of(best, NOW) == score_of(best, NOW)
    assert score_of(best, NOW + 60).total < score_of(best, NOW).total


def test_what_worked_outweighs_every_other_part() -> None:
    assert max(KINDS.values()) * 0.15 < WORKED
    dead = peer(1, rate=0.0, succeeded_at=NOW, kind="lan", rtt_s=0.0)
    alive = peer(2, rate=1.0, succeeded_at=NOW - 3600, kind="punched", rtt_s=0.2)
    assert by_score([dead, alive], NOW) == [alive, dead]


def test_connected_peers_come_first_and_of_equals_the_smaller_id() -> None:
    connected = peer(3, rate=0.0, state=State.ACTIVE)
    assert by_score([peer(2), peer(1, rate=1.0), connected, peer(0)], NOW) == [
        connected,
        peer(1, rate=1.0),
        peer(0),
        peer(2),
    ]


def test_the_best_address_is_the_one_that_works_not_the_one_that_used_to() -> None:
    one = peer(1, "192.0.2.1", "192.0.2.2")
    used_to, works = one.addresses
    for _ in range(50):
        used_to.count_success(NOW - 9000)
    for _ in range(9):
        used_to.count_failure(NOW)
    works.count_success(NOW)
    assert best_way(one, NOW) is works
    assert score_of_way(works, NOW).total > score_of_way(used_to, NOW).total


# --- places ----------------------------------------------------------------------------------------------------------


def test_which_addresses_mean_something_on_one_network_alone() -> None:
    assert [is_local(host) for host in ("10.1.2.3", "fe80::1%eth0", "::ffff:192.168.0.1", "127.0.0.1")] == [True] * 4
    assert [is_local(host) for host in ("192.0.2.1", "2001:db8::1", "example.org", "")] == [False] * 4
    assert [is_address(host) for host in ("fe80::1%eth0", "192.0.2.1", "example.org", "")] == [True, True, False, False]


def test_a_private_address_that_never_worked_does_not_show_on_which_side_a_peer_is() -> None:
    private, public = peer(1, "192.168.7.7"), peer(2, "192.168.7.7", "192.0.2.1")
    assert (private.near, public.near) == (None, False)
    private.addresses[0].found_by = "mdns"
    assert private.near
    public.addresses[0].count_success(NOW)
    assert public.near
    public.kind = "direct"
    assert public.near is False


# --- pauses ----------------------------------------------------------------------------------------------------------


def test_pauses_are_drawn_over_their_whole_length_which_doubles_up_to_the_ceiling() -> None:
    rng = Random(1)
    for streak in (1, 3, 6, 7, 10, 10_000):
        drawn = [pause_s(streak, rng) for _ in range(2000)]
        assert max(drawn) <= longest_s(streak) <= BACKOFF_CEILING_S
        assert min(drawn) >= BACKOFF_FLOOR_S
        assert sum(drawn) / len(drawn) == pytest.approx(longest_s(streak) / 2, rel=0.06)
    assert [longest_s(streak) for streak in (1, 2, 3)] == [1.0, 2.0, 4.0]
    assert longest_s(7) == BACKOFF_CEILING_S
