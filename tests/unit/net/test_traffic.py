"""What is counted, as whose and as what."""

from __future__ import annotations

from dataclasses import dataclass, field

from cis.model import NodeId
from cis.net.traffic import HELLO, OTHER, PEERS_MAX, UNAIMED_MAX, Flow, Ledger, Traffic

ANA, BEN = NodeId(bytes(31) + b"a"), NodeId(bytes(31) + b"b")


@dataclass
class _Stream:
    stream_id: int
    unread_bytes: int = 0
    flow: Flow = field(default_factory=Flow)


def _entered(ledger: Ledger, number: int, size: int) -> _Stream:
    stream = _Stream(number)
    ledger.enter(stream)
    stream.flow.bytes_in += size
    return stream


def test_what_passed_before_a_peer_was_known_is_its_hello() -> None:
    traffic = Traffic()
    ledger = Ledger(traffic)
    stream = _entered(ledger, 0, 10)
    ledger.identify(ANA)
    stream.flow.bytes_in += 1
    ledger.leave(stream)
    assert traffic.flows() == {(ANA, HELLO): Flow(bytes_in=11)}


def test_what_passed_with_one_who_never_became_known_is_nobodys() -> None:
    traffic = Traffic()
    ledger = Ledger(traffic)
    _entered(ledger, 0, 10)
    ledger.close()
    ledger.close()
    assert traffic.flows() == {(None, HELLO): Flow(bytes_in=10)}


def test_a_stream_counts_by_its_purpose_with_what_said_it() -> None:
    traffic = Traffic()
    ledger = Ledger(traffic)
    ledger.identify(ANA)
    stream = _entered(ledger, 0, 10)
    ledger.aim(stream, "sync")
    ledger.aim(stream, "gossip")
    stream.flow.bytes_in += 5
    ledger.leave(stream)
    assert traffic.flows() == {(ANA, HELLO): Flow(), (ANA, "sync"): Flow(bytes_in=15, streams=1)}


def test_a_stream_of_no_purpose_or_a_strange_one_is_counted_too() -> None:
    traffic = Traffic()
    ledger = Ledger(traffic)
    ledger.identify(ANA)
    ledger.leave(_entered(ledger, 0, 10))
    ledger.aim(_entered(ledger, 4, 7), "x" * 32)
    assert traffic.flows() == {(ANA, HELLO): Flow(), (ANA, OTHER): Flow(bytes_in=17, streams=2)}


def test_a_stream_that_ended_before_it_was_read_counts_by_what_it_then_says() -> None:
    traffic = Traffic()
    ledger = Ledger(traffic)
    ledger.identify(ANA)
    stream = _entered(ledger, 0, 10)
    stream.unread_bytes = 10
    ledger.leave(stream)
    ledger.aim(stream, "records")
    assert traffic.flow(ANA, "records") == Flow(bytes_in=10, streams=1)


def test_streams_nobody_reads_are_not_remembered_without_end() -> None:
    traffic = Traffic()
    ledger = Ledger(traffic)
    ledger.identify(ANA)
    for number in range(3 * UNAIMED_MAX):
        stream = _entered(ledger, number, 1)
        stream.unread_bytes = 1
        ledger.leave(stream)
    assert len(ledger._unaimed) == UNAIMED_MAX
    assert traffic.flow(ANA, OTHER).bytes_in == 2 * UNAIMED_MAX


def test_sums_hold_all_that_was_counted() -> None:
    traffic = Traffic()
    for peer, purpose, size in ((ANA, "sync", 1), (ANA, "gossip", 2), (BEN, "sync", 4)):
        traffic.flow(peer, purpose).add(Flow(size, size, size, size, float(size), float(size)))
    assert traffic.by_peer() == {ANA: Flow(3, 3, 3, 3, 3.0, 3.0), BEN: Flow(4, 4, 4, 4, 4.0, 4.0)}
    assert traffic.by_purpose() == {"sync": Flow(5, 5, 5, 5, 5.0, 5.0), "gossip": Flow(2, 2, 2, 2, 2.0, 2.0)}
    assert traffic.total() == Flow(7, 7, 7, 7, 7.0, 7.0)


def test_peers_are_bounded_and_what_they_sent_is_not_forgotten() -> None:
    traffic = Traffic()
    for number in range(PEERS_MAX + 10):
        traffic.flow(NodeId(number.to_bytes(32)), "sync").bytes_in += 1
    assert len(traffic.by_peer()) == PEERS_MAX + 1
    assert traffic.total().bytes_in == PEERS_MAX + 10
    assert traffic.by_peer()[None].bytes_in == 10
