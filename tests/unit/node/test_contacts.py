"""Contacts told by peers: only members, only with records they signed."""

from __future__ import annotations

from types import SimpleNamespace

from cis.model import Candidate
from cis.node.contacts import Contacts
from cis.trust.records import sign_record
from cis.wire.gossip import Disconnect, ForwardJoin, Join, Shuffle, ShuffleAnswer
from tests.unit.trust.cluster import NOW_MS, Cluster, identity

CLUSTER = Cluster()
BEN, EVE = identity(2), identity(3)
CLUSTER.admit(BEN, "ben")
ANA = CLUSTER.ana
RECORD = sign_record(BEN, (Candidate("192.0.2.1", 7677, "lan"),), NOW_MS)
FOREIGN = sign_record(EVE, (Candidate("192.0.2.6", 7677, "lan"),), NOW_MS)


def contacts() -> Contacts:
    return Contacts(SimpleNamespace(membership=CLUSTER.log))


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
