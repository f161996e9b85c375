"""Nobody fills the log so that it cannot be removed, whatever it states and whomever it makes an admin."""

from __future__ import annotations

import pytest

from cis.errors import Denied
from cis.trust import crowding
from cis.trust.entries import read_entry
from cis.trust.identity import Identity
from cis.trust.membership import Membership, found, state
from cis.wire.membership import PARENTS_MAX, Grant, NewSpace, Role
from tests.unit.trust.cluster import NOW_MS, Cluster, entropy, identity

ANA, BOB, CAROL, DAVE, MALLORY = (identity(number) for number in range(1, 6))
RECOVERY = identity(99)
PUPPETS = [identity(number) for number in range(200, 206)]


class Flooded(Cluster):
    """Ana founded it and made bob and mallory admins; mallory goes on to state whatever it can."""

    def __post_init__(self) -> None:
        self.ana = ANA
        _, self.log, self.keys = found(ANA, "ana", entropy(1000), NOW_MS, RECOVERY.node)
        self.admit(BOB, "bob", Role.ADMIN)
        self.admit(MALLORY, "mallory", Role.ADMIN)
        self.parents = self.log.ids()[-1:]

    def stated(
        self, issuer: Identity, subject: Identity, number: int, *parents: bytes, role: Role = Role.READER
    ) -> bytes:
        grant = Grant(subject.node, subject.sealing_public, "x", role, (self.public,))
        nonce = number.to_bytes(16, "big")
        return state(issuer, self.log.cluster, parents or self.parents, grant, b"", nonce, NOW_MS)

    def chain(self, first: int, count: int) -> list[bytes]:
        """Entries of mallory's, each after the one before."""
        made = [self.stated(MALLORY, DAVE, first)]
        for number in range(first + 1, first + count):
            made.append(self.stated(MALLORY, DAVE, number, read_entry(made[-1]).id))
        return made

    def remove(self, issuer: Identity, log: Membership, number: int = 1) -> bytes:
        raw = log.revoke(issuer, MALLORY.node, (), (), entropy(700 + number), NOW_MS)
        assert log.add(raw)
        return raw

    def puppets(self, log: Membership, each: int) -> None:
        """Mallory makes admins, who each state as much as they can."""
        for puppet in PUPPETS:
            made = self.stated(MALLORY, puppet, 0, role=Role.ADMIN)
            log.add(made)
            for number in range(each):
                log.add(self.stated(puppet, DAVE, number, read_entry(made).id))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Flooded:
    monkeypatch.setattr(crowding, "ISSUED_MAX", 20)
    monkeypatch.setattr(crowding, "LEANED_MAX", 4)
    monkeypatch.setattr(crowding, "FLOOD_MIN", 10)
    monkeypatch.setattr("cis.trust.chronicle.FLOOD_MIN", 10)
    monkeypatch.setattr("cis.trust.chronicle.VOID_KEPT_MAX", 4)
    monkeypatch.setattr(crowding, "RESERVED", 10)
    monkeypatch.setattr(crowding, "ENTRIES_MAX", 90)
    return Flooded()


def tell(teller: Membership, listener: Membership) -> None:
    for raw in teller.entries_missing_from(listener.ids()):
        listener.add(raw)


def test_one_admin_states_so_much_and_the_carrier_of_more_is_not_blamed(cluster: Flooded) -> None:
    before = len(cluster.log.ids())
    taken = [bool(cluster.log.add(raw)) for raw in cluster.chain(0, 30)]
    assert taken == [True] * 20 + [False] * 10
    assert len(cluster.log.ids()) == before + 20
    cluster.admit(CAROL, "carol", issuer=BOB)
    assert cluster.log.member(CAROL.node) is not None


def test_the_same_entries_are_taken_in_whatever_their_order(cluster: Flooded) -> None:
    chain, other = cluster.chain(0, 30), cluster.copy()
    for raw in chain:
        cluster.log.add(raw)
    for raw in reversed(chain):
        other.add(raw)
    assert other.digest() == cluster.log.digest()


def test_who_states_too_much_is_told_so_here(cluster: Flooded) -> None:
    for raw in cluster.chain(0, 30):
        cluster.log.add(raw)
    with pytest.raises(Denied, match="no room"):
        cluster.admit(CAROL, "carol", issuer=MALLORY)


def test_puppets_leave_room_for_admins_nearer_the_founder(cluster: Flooded) -> None:
    cluster.puppets(cluster.log, 20)
    assert 60 <= len(cluster.log.ids()) < 70
    with pytest.raises(Denied, match="no room"):
        cluster.log.grant(PUPPETS[0], cluster.grant(CAROL, "carol"), cluster.keys, entropy(5), NOW_MS)
    cluster.remove(BOB, cluster.log)
    assert cluster.log.member(MALLORY.node) is None
    assert cluster.log.member(PUPPETS[-1].node) is None
    cluster.admit(CAROL, "carol", issuer=BOB)
    assert len(cluster.log.ids()) < 40, "what has no effect any more takes no room"


def test_the_founder_and_then_the_recovery_key_have_the_last_room(cluster: Flooded) -> None:
    cluster.puppets(cluster.log, 20)
    log, number = cluster.log, 0
    for issuer, full in ((BOB, 70), (ANA, 80), (RECOVERY, 90)):
        while log.add(cluster.stated(issuer, DAVE, number)):
            number += 1
            log.rights.issued[issuer.node] = 0  # as if many stated one each
        assert len(log.ids()) == full
    assert not log.has_room(RECOVERY.node, None)


def test_no_log_is_held_beyond_bounds_wherever_it_comes_from(cluster: Flooded, monkeypatch: pytest.MonkeyPatch) -> None:
    for raw in cluster.chain(0, 15):
        cluster.log.add(raw)
    monkeypatch.setattr("cis.trust.chronicle.HELD_MAX", 12)
    assert len(cluster.copy().log.known) == 12


def test_spaces_are_made_from_the_room_of_all(cluster: Flooded) -> None:
    cluster.puppets(cluster.log, 20)
    assert cluster.log.has_room(ANA.node, Grant(DAVE.node, DAVE.sealing_public, "dave", Role.READER, ()))
    assert not cluster.log.has_room(ANA.node, NewSpace(cluster.public, b"n" * 48))


def test_a_removal_arrives_where_other_parts_of_the_flood_had_come_before(cluster: Flooded) -> None:
    here, there = cluster.copy(), cluster.copy()
    for raw in cluster.chain(0, 30):
        here.add(raw)
    for raw in cluster.chain(1000, 30):
        there.add(raw)
    removal = cluster.remove(BOB, here)
    assert len(read_entry(removal).statement.parents) <= PARENTS_MAX
    for _ in range(2):  # what it follows is known to be wanted once it has come
        tell(here, there)
        tell(there, here)
    assert there.knows(read_entry(removal).id)
    assert there.member(MALLORY.node) is None
    assert there.has_room(BOB.node, None)


def test_what_follows_such_a_removal_leans_on_nothing_of_the_flood(cluster: Flooded) -> None:
    here, there = cluster.copy(), cluster.copy()
    for raw in cluster.chain(0, 18):
        here.add(raw)
    built = cluster.admit(CAROL, "carol", issuer=BOB, log=here)
    cluster.remove(ANA, here)
    granted = cluster.admit(DAVE, "dave", issuer=ANA, log=here)
    ancestry = here.log.known[read_entry(granted).id].ancestry
    followed = [one.entry for one in here.log.known.values() if ancestry >> one.place & 1]
    assert sum(entry.issuer == MALLORY.node for entry in followed) <= 4
    assert here.member(CAROL.node) is not None, "what others stated meanwhile still has effect"
    for _ in range(3):
        tell(here, there)
    assert there.knows(read_entry(built).id)
    assert there.digest() == here.digest()


def test_a_cluster_that_nobody_floods_leans_on_everything(cluster: Flooded) -> None:
    for raw in cluster.chain(0, 6):
        cluster.log.add(raw)
    removal = cluster.remove(BOB, cluster.log)
    assert cluster.log.log.known[read_entry(removal).id].ancestry.bit_count() == len(cluster.log.log.known)
