"""Contacts told by peers: only members, only with records they signed."""

from __future__ import annotations

from types import SimpleNamespace

from cis.model import Candidate
from cis.node.finding.contacts import READ_KEPT_MAX, Contacts
from cis.trust.records import RECORD_LIFE_MS, sign_record
from cis.wire.gossip import Disconnect, ForwardJoin, Join, Shuffle, ShuffleAnswer
from tests.unit.trust.cluster import NOW_MS, Cluster, identity

CLUSTER = Cluster()
BEN, EVE = identity(2), identity(3)
CLUSTER.admit(BEN, "ben")
ANA = CLUSTER.ana
RECORD = sign_record(BEN, (Candidate("192.0.2.1", 7677, "lan"),), NOW_MS)
FOREIGN = sign_record(EVE, (Candidate("192.0.2.6", 7677, "lan"),), NOW_MS)


def contacts(now_ms: int = NOW_MS, held: tuple[int, bytes] | None = None) -> Contacts:
    return Contacts(SimpleNamespace(membership=CLUSTER.log), lambda: now_ms, lambda node: held)


def record(at_ms: int, host: str = "192.0.2.1") -> bytes:
    return sign_record(BEN, (Candidate(host, 7677, "lan"),), at_ms)


def test_sound_contacts_pass() -> None:
    message = Shuffle((ANA.node, b""), [(BEN.node, RECORD)], 3)
    assert contacts().vetted(message) == message
    assert contacts().vetted(Disconnect()) == Disconnect()


def test_strangers_and_members_with_the_record_of_another_are_left_out_of_samples() -> None:
    told = [(EVE.node, FOREIGN), (BEN.node, FOREIGN), (BEN.node, b"\xc1"), (BEN.node, RECORD), (ANA.node, b"")]
    assert contacts().vetted(ShuffleAnswer(told)) == ShuffleAnswer([(BEN.node, RECORD), (ANA.node, b"")])


def test_a_record_that_is_not_the_speakers_is_taken_from_what_it_says() -> None:
    assert contacts().vetted(Join((BEN.node, FOREIGN))) == Join((BEN.node, b""))
    assert contacts().vetted(Shuffle((BEN.node, FOREIGN), [], 3)) == Shuffle((BEN.node, b""), [], 3)


def test_what_is_about_a_stranger_is_left_out() -> None:
    assert contacts().vetted(ForwardJoin((EVE.node, FOREIGN), 3)) is None
    assert contacts().vetted(Shuffle((EVE.node, FOREIGN), [(BEN.node, RECORD)], 3)) is None


def test_a_record_that_has_expired_is_dropped_with_its_contact() -> None:
    told = [(BEN.node, RECORD), (ANA.node, b"")]
    assert contacts(NOW_MS + RECORD_LIFE_MS).vetted(ShuffleAnswer(told)) == ShuffleAnswer([(ANA.node, b"")])
    assert contacts(NOW_MS + RECORD_LIFE_MS).vetted(Join((BEN.node, RECORD))) == Join((BEN.node, b""))


def test_of_two_records_the_newer_is_passed_on_whichever_comes_last() -> None:
    older, newer = record(NOW_MS - 1000, "192.0.2.8"), record(NOW_MS)
    vetting = contacts()
    passed = [vetting.vetted(ShuffleAnswer([(BEN.node, told)])) for told in (older, newer, older)]
    assert passed == [ShuffleAnswer([(BEN.node, one)]) for one in (older, newer, newer)]


def test_a_record_that_came_otherwise_is_newer_too() -> None:
    older, newer = record(NOW_MS - 1000), record(NOW_MS)
    assert contacts(held=(NOW_MS, newer)).vetted(ShuffleAnswer([(BEN.node, older)])) == ShuffleAnswer(
        [(BEN.node, newer)]
    )


def test_what_is_remembered_of_records_is_bounded() -> None:
    vetting = contacts()
    for number in range(READ_KEPT_MAX + 10):
        vetting.vetted(Join((BEN.node, number.to_bytes(4, "big"))))
    assert len(vetting._read) <= READ_KEPT_MAX
