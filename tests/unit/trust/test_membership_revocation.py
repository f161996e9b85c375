"""Who is put out, by whom, and what becomes of what they stated: conflicts of admins among them."""

from __future__ import annotations

from itertools import permutations

import pytest

from cis.errors import Denied, Fault, PeerFault, UsageError
from cis.model import SpaceId, replica_id
from cis.trust import chronicle
from cis.trust.entries import read_entry, verify_chain
from cis.trust.identity import Identity
from cis.trust.membership import Membership, found, state
from cis.wire.membership import Cut, Grant, Revoke, Role, encode_part
from tests.unit.trust.cluster import NOW_MS, Cluster, entropy, identity

ANA, BOB, CAROL, DAVE, EVE = (identity(number) for number in range(1, 6))
RECOVERY = identity(99)
TEAM = SpaceId(b"t" * 16)


class Team(Cluster):
    """Ana founded it with a recovery key. She made bob an admin, bob made carol one, and all know."""

    def __post_init__(self) -> None:
        self.ana = ANA
        _, self.log, self.keys = found(ANA, "ana", entropy(1000), NOW_MS, RECOVERY.node)
        self.drawn = 0
        self.admit(BOB, "bob", Role.ADMIN)
        self.admit(CAROL, "carol", Role.ADMIN, issuer=BOB)

    def revoke(
        self,
        issuer: Identity,
        subject: Identity,
        *spaces: SpaceId,
        log: Membership | None = None,
        cuts: tuple[Cut, ...] = (),
    ) -> bytes:
        log = log or self.log
        self.drawn += 1
        raw = log.revoke(issuer, subject.node, spaces, cuts, entropy(500 + self.drawn), NOW_MS)
        assert log.add(raw)
        return raw

    def forge(self, issuer: Identity, body: Grant | Revoke, parents: tuple[bytes, ...], number: int = 0) -> bytes:
        return state(issuer, self.log.cluster, parents, body, b"", number.to_bytes(16, "big"), NOW_MS)

    def names(self, log: Membership | None = None) -> set[str]:
        return {member.name for member in (log or self.log).members()}


@pytest.fixture
def team() -> Team:
    return Team()


def merged(team: Team, *apart: Membership) -> Membership:
    """What every node reads once it has all entries; asserts that the order does not matter."""
    raws = list(dict.fromkeys(raw for log in (team.log, *apart) for raw in log.entries_missing_from()))
    common = [raw for raw in raws if all(log.knows(read_entry(raw).id) for log in apart)]
    results = []
    for order in permutations([raw for raw in raws if raw not in common]):
        log = Membership(team.log.cluster, common)
        for raw in order:
            log.add(raw)
        results.append(log)
    assert all(log.members() == results[0].members() for log in results)
    assert len({log.digest() for log in results}) == 1
    return results[0]


def test_a_removed_member_is_none_and_is_told_so(team: Team) -> None:
    team.admit(DAVE, "dave")
    chain = team.log.chain(DAVE.node)
    team.revoke(BOB, DAVE)
    assert team.names() == {"ana", "bob", "carol"}
    assert team.log.revoked(DAVE.node)
    assert not team.log.revoked(EVE.node)
    assert team.log.removed_by(DAVE.node) == BOB.node
    assert team.log.judge(DAVE.node, chain) is Fault.UNAUTHORISED
    assert team.log.chain(DAVE.node) == ()
    assert team.log.authority(DAVE.node, team.public) is None


def test_between_admins_that_remove_each_other_the_one_nearer_the_founder_stays(team: Team) -> None:
    one, other = team.copy(), team.copy()
    team.revoke(CAROL, BOB, log=one)
    team.revoke(BOB, CAROL, log=other)
    assert team.names(merged(team, one, other)) == {"ana", "bob"}


def test_between_equals_the_one_made_admin_first_stays_however_the_other_backdates(team: Team) -> None:
    made = read_entry(team.admit(DAVE, "dave", Role.ADMIN)).id
    for number in range(3):
        team.admit(identity(10 + number), f"n{number}")
    one, other = team.copy(), team.copy()
    team.revoke(BOB, DAVE, log=one)
    other.add(team.forge(DAVE, Revoke(BOB.node, ()), (made,)))
    assert team.names(merged(team, one, other)) == {"ana", "bob", "carol", "n0", "n1", "n2"}


def test_of_three_that_remove_each_other_in_a_ring_the_senior_are_heard_first(team: Team) -> None:
    logs = [team.copy() for _ in range(3)]
    for log, (issuer, subject) in zip(logs, ((ANA, BOB), (BOB, CAROL), (CAROL, ANA)), strict=True):
        team.revoke(issuer, subject, log=log)
    # Ana's stands, so bob's does not; nothing was said against carol, so hers does.
    assert team.names(merged(team, *logs)) == {"carol"}


def test_no_grant_makes_an_admin_less_senior(team: Team) -> None:
    """Carol grants dave, whom ana made an admin, once more and backdated: he stays senior to her."""
    before = team.log.heads()[0].entry.id
    team.admit(DAVE, "dave", Role.ADMIN)
    team.log.add(team.forge(CAROL, team.grant(DAVE, "dave", Role.ADMIN), (before,)))
    one, other = team.copy(), team.copy()
    team.revoke(CAROL, DAVE, log=one)
    team.revoke(DAVE, CAROL, log=other)
    assert team.names(merged(team, one, other)) == {"ana", "bob", "dave"}


def test_a_removal_prevails_over_a_grant_made_apart_from_it(team: Team) -> None:
    team.admit(DAVE, "dave")
    one, other = team.copy(), team.copy()
    team.revoke(ANA, DAVE, log=one)
    team.admit(DAVE, "dave", issuer=BOB, log=other)
    assert team.names(merged(team, one, other)) == {"ana", "bob", "carol"}


def test_who_is_granted_again_after_a_removal_is_a_member_again(team: Team) -> None:
    team.admit(DAVE, "dave")
    team.revoke(BOB, DAVE)
    team.admit(DAVE, "dave")
    assert "dave" in team.names()
    assert not team.log.revoked(DAVE.node)
    head = team.log.authority(DAVE.node, team.public)
    assert head is not None
    assert team.log.may_write(DAVE.node, team.public, head)


def test_an_admin_granted_again_states_things_again_but_not_what_it_backdates(team: Team) -> None:
    parents = team.log.ids()[-1:]
    team.revoke(ANA, CAROL)
    team.admit(CAROL, "carol", Role.ADMIN)
    team.admit(DAVE, "dave", issuer=CAROL)
    team.log.add(team.forge(CAROL, team.grant(EVE, "eve"), parents))
    assert team.names() == {"ana", "bob", "carol", "dave"}


def test_what_an_admin_stated_before_its_removal_stays_and_what_it_states_apart_is_void(team: Team) -> None:
    team.admit(DAVE, "dave", issuer=CAROL)
    one, other = team.copy(), team.copy()
    team.revoke(ANA, CAROL, log=one)
    team.admit(EVE, "eve", Role.ADMIN, issuer=CAROL, log=other)
    team.admit(identity(6), "frank", issuer=EVE, log=other)
    both = merged(team, one, other)
    assert team.names(both) == {"ana", "bob", "dave"}
    assert both.revoked(EVE.node)
    assert both.removed_by(EVE.node) is None, "nobody removed her: who granted her was"


def test_a_removed_admin_cannot_revoke(team: Team) -> None:
    one, other = team.copy(), team.copy()
    team.revoke(ANA, BOB, log=one)
    team.revoke(BOB, ANA, log=other)
    team.revoke(BOB, CAROL, log=other)
    assert team.names(merged(team, one, other)) == {"ana", "carol"}


def test_the_recovery_key_removes_the_founder_and_nobody_removes_it(team: Team) -> None:
    one, other = team.copy(), team.copy()
    team.revoke(RECOVERY, ANA, log=one)
    team.revoke(ANA, BOB, log=other)
    other.add(team.forge(ANA, Revoke(RECOVERY.node, ()), (other.heads()[0].entry.id,)))
    both = merged(team, one, other)
    assert team.names(both) == {"bob", "carol"}
    assert both.member(RECOVERY.node) is None
    team.admit(DAVE, "dave", Role.ADMIN, issuer=RECOVERY, log=both)
    assert "dave" in team.names(both)


def test_a_grant_by_the_recovery_key_shows_in_a_chain(team: Team) -> None:
    team.admit(DAVE, "dave", issuer=RECOVERY)
    chain = team.log.chain(DAVE.node)
    assert verify_chain(team.log.cluster, DAVE.node, chain)
    assert not verify_chain(team.log.cluster, DAVE.node, chain[1:])
    forged = team.forge(EVE, team.grant(EVE, "eve"), team.log.ids()[:1])
    assert not verify_chain(team.log.cluster, EVE.node, (chain[0], forged))


def test_without_a_recovery_key_nobody_is_one(team: Team) -> None:
    plain = Cluster()
    with pytest.raises(Denied):
        plain.log.revoke(RECOVERY, plain.ana.node, (), (), entropy(1), NOW_MS)
    raw = state(RECOVERY, plain.log.cluster, plain.log.ids(), Revoke(plain.ana.node, ()), b"", bytes(16), NOW_MS)
    with pytest.raises(PeerFault) as raised:
        plain.log.add(raw)
    assert raised.value.fault is Fault.UNAUTHORISED


def test_a_chain_that_leans_on_a_removed_admin_admits_nobody(team: Team) -> None:
    other = team.copy()
    team.admit(EVE, "eve", issuer=CAROL, log=other)
    chain = other.chain(EVE.node)
    assert team.log.judge(EVE.node, chain) is None
    team.revoke(ANA, CAROL)
    assert team.log.judge(EVE.node, chain) is Fault.UNAUTHORISED
    assert team.log.judge(DAVE.node, chain) is Fault.NOT_MEMBER


def test_spaces_are_taken_one_by_one_and_given_back(team: Team) -> None:
    grant = Grant(DAVE.node, DAVE.sealing_public, "dave", Role.WRITER, (team.public, TEAM))
    team.log.add(team.log.grant(ANA, grant, team.keys, entropy(3), NOW_MS))
    before = team.log.authority(DAVE.node, TEAM)
    assert before is not None
    team.revoke(ANA, DAVE, TEAM)
    dave = team.log.member(DAVE.node)
    assert dave is not None
    assert dave.roles == {team.public: Role.WRITER}
    assert team.log.authority(DAVE.node, TEAM) is None
    assert team.log.authority(DAVE.node, team.public) is not None
    assert team.log.may_write(DAVE.node, TEAM, before), "it wrote before it knew"
    team.log.add(team.log.grant(BOB, grant, team.keys, entropy(4), NOW_MS))
    assert team.log.space_role(DAVE.node, TEAM) is Role.WRITER


def test_a_log_counts_up_to_the_furthest_cut_that_names_it(team: Team) -> None:
    team.admit(DAVE, "dave")
    old, new, unseen = (replica_id(DAVE.node, number.to_bytes(8, "big")) for number in range(3))
    before = team.log.authority(DAVE.node, team.public)
    assert before is not None
    assert team.log.limit(team.public, old) is None
    one, other = team.copy(), team.copy()
    stranger = Cut(team.public, replica_id(BOB.node, bytes(8)), 1)
    team.revoke(ANA, DAVE, log=one, cuts=(Cut(team.public, old, 5), Cut(TEAM, new, 9), stranger))
    team.revoke(BOB, DAVE, log=other, cuts=(Cut(team.public, old, 7),))
    both = merged(team, one, other)
    assert both.limit(team.public, old) == Cut(team.public, old, 7)
    assert both.limit(team.public, unseen) == Cut(team.public, unseen, 0)
    assert both.limit(team.public, stranger.replica) is None, "a cut of another's log says nothing"
    assert not both.refuses(old, team.public, before), "named, so its limit alone decides"
    assert both.refuses(unseen, team.public, before)


def test_a_member_granted_again_writes_new_logs_but_adds_nothing_to_old_ones(team: Team) -> None:
    team.admit(DAVE, "dave")
    before = team.log.authority(DAVE.node, team.public)
    assert before is not None
    old, new = (replica_id(DAVE.node, number.to_bytes(8, "big")) for number in range(2))
    team.revoke(ANA, DAVE, cuts=(Cut(team.public, old, 5),))
    team.admit(DAVE, "dave")
    after = team.log.authority(DAVE.node, team.public)
    assert after is not None
    assert team.log.limit(team.public, old) == Cut(team.public, old, 5)
    assert team.log.limit(team.public, new) is None
    assert team.log.refuses(new, team.public, before), "a new log that claims to be from before the removal"
    assert not team.log.refuses(new, team.public, after)


def test_rights_at_a_head_do_not_outlive_a_removal_in_its_ancestry(team: Team) -> None:
    team.admit(DAVE, "dave")
    before = team.log.authority(DAVE.node, team.public)
    assert before is not None
    raw = team.revoke(ANA, DAVE)
    assert team.log.may_write(DAVE.node, team.public, before)
    assert not team.log.may_write(DAVE.node, team.public, read_entry(raw).id)


def test_answers_change_when_a_removal_that_voids_a_grant_arrives(team: Team) -> None:
    other = team.copy()
    team.revoke(ANA, CAROL, log=other)
    team.admit(DAVE, "dave", issuer=CAROL)
    head = team.log.authority(DAVE.node, team.public)
    assert head is not None
    assert team.log.may_write(DAVE.node, team.public, head)
    team.log.add(other.entries_missing_from(team.log.ids())[0])
    assert not team.log.may_write(DAVE.node, team.public, head)


def flood(team: Team, count: int, parents: tuple[bytes, ...]) -> list[bytes]:
    return [team.forge(CAROL, team.grant(EVE, "eve"), parents, number) for number in range(count)]


def test_a_removed_admin_cannot_fill_the_log_nor_can_those_it_makes_admins(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chronicle, "VOID_KEPT_MAX", 5)
    monkeypatch.setattr(chronicle, "VOID_HELD_MAX", 7)
    parents = team.log.ids()[-1:]
    team.revoke(ANA, CAROL)
    size = len(team.log.ids())
    puppet = team.forge(CAROL, team.grant(EVE, "eve", Role.ADMIN), parents)
    team.log.add(puppet)
    for number in range(9):
        grant = team.grant(DAVE, "dave")
        team.log.add(team.forge(EVE, grant, (read_entry(puppet).id,), number))
    for raw in flood(team, 9, parents):
        team.log.add(raw)
    assert len(team.log.ids()) == size + 5
    assert len(team.log.log.known) <= size + 7 + 5, "weighed anew every five"
    assert team.names() == {"ana", "bob"}


def test_what_a_removed_admin_stated_is_taken_all_the_same_where_others_build_on_it(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chronicle, "VOID_KEPT_MAX", 2)
    unaware = team.copy()
    stated = flood(team, 6, team.log.ids()[-1:])
    for raw in stated:
        unaware.add(raw)
    built = team.admit(DAVE, "dave", issuer=BOB, log=unaware)
    team.revoke(ANA, CAROL)
    for _ in range(2):
        for raw in unaware.entries_missing_from(team.log.ids()):
            team.log.add(raw)
    assert team.log.knows(read_entry(built).id)
    assert "dave" in team.names()


def test_of_void_entries_taken_before_the_removal_was_known_few_are_passed_on(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chronicle, "VOID_KEPT_MAX", 2)
    other = team.copy()
    removal = team.revoke(ANA, CAROL, log=other)
    for raw in flood(team, 6, team.log.ids()[-1:]):
        team.log.add(raw)
    size = len(other.ids())
    team.log.add(removal)
    told = team.log.entries_missing_from(other.ids())
    assert len(told) == 2
    for raw in told:
        other.add(raw)
    assert len(other.ids()) == size + 2
    assert other.digest() == team.log.digest()
    assert team.log.heads()[0].entry.raw == removal, "nothing is built on what is void"


def test_nodes_that_took_in_different_void_entries_tell_the_same_in_the_end(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chronicle, "VOID_KEPT_MAX", 3)
    parents = team.log.ids()[-1:]
    team.revoke(ANA, CAROL)
    other = team.copy()
    stated = flood(team, 12, parents)
    for raw in stated[:6]:
        team.log.add(raw)
    for raw in stated[6:]:
        other.add(raw)
    assert other.digest() != team.log.digest()
    for teller, listener in ((other, team.log), (team.log, other)):
        for raw in teller.entries_missing_from(listener.ids()):
            listener.add(raw)
    assert other.digest() == team.log.digest()


def test_only_an_admin_revokes_and_only_what_can_be(team: Team) -> None:
    team.admit(DAVE, "dave")

    def revoke(issuer: Identity, subject: Identity, *spaces: SpaceId) -> None:
        team.log.revoke(issuer, subject.node, spaces, (), entropy(1), NOW_MS)

    with pytest.raises(Denied, match="admin"):
        revoke(DAVE, ANA)
    with pytest.raises(UsageError, match="no member"):
        revoke(ANA, EVE)
    with pytest.raises(UsageError, match="itself"):
        revoke(ANA, ANA)
    with pytest.raises(UsageError, match="every space"):
        revoke(ANA, BOB, team.public)
    team.revoke(ANA, BOB)
    with pytest.raises(Denied, match="admin"):
        revoke(BOB, DAVE)


def test_a_founding_entry_names_a_recovery_key_of_32_bytes_or_none() -> None:
    grant = Grant(ANA.node, ANA.sealing_public, "ana", Role.ADMIN, ())
    raw = state(ANA, bytes(32), (), grant, b"short", bytes(16), NOW_MS)
    with pytest.raises(PeerFault, match="recovery"):
        read_entry(raw)


def test_cuts_travel_with_a_revocation(team: Team) -> None:
    team.admit(DAVE, "dave")
    cut = Cut(team.public, replica_id(DAVE.node, bytes(8)), 3)
    entry = read_entry(team.revoke(ANA, DAVE, cuts=(cut,)))
    assert entry.cuts == (cut,)
    assert entry.attachment == encode_part((cut,))


def test_a_revocation_of_one_space_carries_the_cuts_of_that_space_and_of_its_subject_alone(team: Team) -> None:
    team.admit(DAVE, "dave")
    own, other = replica_id(DAVE.node, bytes(8)), replica_id(ANA.node, bytes(8))
    cuts = (Cut(team.public, own, 3), Cut(TEAM, own, 4), Cut(team.public, other, 5))
    assert read_entry(team.revoke(ANA, DAVE, team.public, cuts=cuts)).cuts == cuts[:1]
    assert read_entry(team.revoke(ANA, DAVE, cuts=cuts)).cuts == cuts[:2]


def test_those_an_admin_made_are_found_however_far_down(team: Team) -> None:
    team.admit(DAVE, "dave", Role.ADMIN, issuer=CAROL)
    rights = team.log.rights
    assert set(rights.made_by(BOB.node, ANA.node)) == {BOB.node, CAROL.node, DAVE.node}
    assert set(rights.made_by(BOB.node, CAROL.node)) == {BOB.node}, "who is spared, and whom that one made"
    assert set(rights.made_by(DAVE.node, ANA.node)) == {DAVE.node}


def test_who_only_reads_a_space_never_writes_to_it_whatever_else_is_granted(team: Team) -> None:
    team.admit(DAVE, "dave", Role.READER)
    everything = (1 << 64) - 1
    assert not team.log.rights.ever_writes(DAVE.node, team.public, everything)
    team.admit(identity(77), "erin", Role.WRITER)
    assert team.log.rights.ever_writes(identity(77).node, team.public, everything)
    assert not team.log.rights.ever_writes(identity(77).node, TEAM, everything)
    assert not team.log.rights.ever_writes(identity(77).node, team.public, 0)
    assert team.log.rights.ever_writes(BOB.node, TEAM, everything), "an admin is one in every space"


def test_a_copy_goes_its_own_way(team: Team) -> None:
    team.admit(DAVE, "dave")
    team.revoke(ANA, DAVE)
    ahead = team.copy()
    first, second = team.admit(EVE, "eve", log=ahead), team.admit(identity(6), "frank", log=ahead)
    assert team.log.add(second) == []
    twin = team.log.copy()
    before = team.log.digest(), team.log.members(), team.log.ids()
    twin.add(first)
    team.revoke(ANA, CAROL, log=twin)
    assert team.names(twin) == {"ana", "bob", "eve", "frank"}, "what waited was copied as well"
    assert (team.log.digest(), team.log.members(), team.log.ids()) == before
    team.revoke(BOB, ANA)
    assert team.names() == {"bob", "carol"}
    assert team.names(twin) == {"ana", "bob", "eve", "frank"}


def test_what_is_known_already_is_not_looked_at_again(team: Team) -> None:
    raw = team.admit(DAVE, "dave")
    statement = raw.index(b"dave")
    assert team.log.add(raw[:-1] + bytes([raw[-1] ^ 1])) == []
    with pytest.raises(PeerFault):
        team.log.add(raw[:statement] + b"DAVE" + raw[statement + 4 :])


def test_a_right_by_the_grant_of_an_admin_removed_apart_is_void_and_yet_nobodys_fault(team: Team) -> None:
    apart = team.copy()
    raw = team.admit(DAVE, "dave", issuer=BOB, log=apart)
    head = apart.authority(DAVE.node, team.public)
    assert head is not None
    team.revoke(ANA, BOB)
    team.log.add(raw)
    assert not team.log.may_write(DAVE.node, team.public, head)
    assert team.log.might_write(DAVE.node, team.public, head)
    assert not team.log.might_write(EVE.node, team.public, head)
