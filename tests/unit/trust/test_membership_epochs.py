"""New epochs after a removal: who is handed their keys, which one is written under, who still lacks one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cis.errors import Denied, Fault, PeerFault, UsageError
from cis.model import SpaceId
from cis.trust.entries import read_entry
from cis.trust.identity import Identity
from cis.trust.keys import ClusterKeys, hash_key, private_keys
from cis.trust.membership import Membership, found, state
from cis.trust.sealing import Opener, Sealer
from cis.wire.membership import NO_SPACE, Grant, Role, Rotate, Sealed, SealedKey, encode_part
from tests.unit.trust.cluster import NOW_MS, Cluster, entropy, identity

ANA, BOB, CAROL, DAVE, EVE = (identity(number) for number in range(1, 6))
RECOVERY = identity(99)


class Keyed(Cluster):
    """Ana founded it; bob is an admin, carol a writer; all hold what was sealed to them."""

    def __post_init__(self) -> None:
        self.ana = ANA
        _, self.log, self.keys = found(ANA, "ana", entropy(1000), NOW_MS, RECOVERY.node)
        self.drawn = 0
        self.admit(BOB, "bob", Role.ADMIN)
        self.admit(CAROL, "carol")

    def held(self, who: Identity, log: Membership | None = None) -> ClusterKeys:
        before = self.keys if who is ANA else ClusterKeys.none(private_keys(self.log.cluster, entropy(7)))
        return (log or self.log).keys_of(who, before)

    def draw(self) -> int:
        self.drawn += 1
        return self.drawn

    def revoke(self, issuer: Identity, subject: Identity, *spaces: SpaceId, log: Membership | None = None) -> None:
        log = log or self.log
        log.add(log.revoke(issuer, subject.node, spaces, (), entropy(600 + self.draw()), NOW_MS))

    def rotate(self, issuer: Identity, space: SpaceId, log: Membership | None = None) -> int:
        log = log or self.log
        raw = log.rotate(issuer, space, entropy(700 + self.draw()), NOW_MS)
        log.add(raw)
        body = read_entry(raw).body
        assert isinstance(body, Rotate)
        return body.epoch


@pytest.fixture
def cluster() -> Keyed:
    return Keyed()


@pytest.mark.parametrize("discovery", [True, False])
def test_an_epoch_known_to_a_removed_member_is_written_under_no_more(cluster: Keyed, *, discovery: bool) -> None:
    space = NO_SPACE if discovery else cluster.public
    assert cluster.log.epoch(space) == 0
    cluster.revoke(ANA, CAROL)
    assert cluster.log.epoch(space) is None
    epoch = cluster.rotate(ANA, space)
    assert cluster.log.epoch(space) == epoch
    assert cluster.log.epochs(space) == (0, epoch)


def test_those_who_remain_hold_the_new_epoch_and_write_under_it(cluster: Keyed) -> None:
    cluster.revoke(ANA, CAROL)
    epoch, discovery = cluster.rotate(ANA, cluster.public), cluster.rotate(ANA, NO_SPACE)
    for who in (ANA, BOB):
        held = cluster.held(who)
        assert (held.spaces[cluster.public].current, held.current) == (epoch, discovery)
        assert held.spaces[cluster.public].epochs.keys() == {0, epoch}
        assert cluster.log.keys_of(who, held) == held
    assert cluster.held(ANA).discovery_key == cluster.held(BOB).discovery_key != cluster.keys.discovery_key


def test_a_removed_member_with_all_it_ever_had_reads_nothing_written_since(cluster: Keyed) -> None:
    stolen = cluster.held(CAROL)
    cluster.revoke(ANA, CAROL)
    epoch, discovery = cluster.rotate(ANA, cluster.public), cluster.rotate(ANA, NO_SPACE)
    now = cluster.log.keys_of(CAROL, stolen)
    assert epoch not in now.spaces[cluster.public].epochs
    assert discovery not in now.discovery
    sealer = Sealer(cluster.held(BOB).spaces[cluster.public], [b"later"], entropy(9))
    body = sealer.seal(0, b"later", b"header")
    for key in (*now.discovery.values(), *now.spaces[cluster.public].epochs.values()):
        guessed = replace(now.spaces[cluster.public], epochs={sealer.epoch: key})
        with pytest.raises(Exception, match="does not belong"):
            Opener(guessed, sealer.epoch, sealer.salt).open(0, body, b"header")


def test_keys_sealed_to_one_removed_apart_from_the_rotation_are_not_used(cluster: Keyed) -> None:
    other = cluster.copy()
    cluster.revoke(ANA, CAROL)
    epoch = cluster.rotate(ANA, cluster.public)
    sealed_to_carol = cluster.rotate(BOB, cluster.public, other)
    for raw in other.entries_missing_from(cluster.log.ids()):
        cluster.log.add(raw)
    assert set(cluster.log.epochs(cluster.public)) == {0, epoch, sealed_to_carol}
    assert cluster.log.epoch(cluster.public) == epoch


def test_an_epoch_of_a_removed_admin_s_making_is_not_used(cluster: Keyed) -> None:
    made = cluster.rotate(BOB, cluster.public)
    assert cluster.log.epoch(cluster.public) == made
    cluster.revoke(ANA, BOB)
    assert cluster.log.epoch(cluster.public) is None
    assert made in cluster.held(CAROL).spaces[cluster.public].epochs, "what was written under it stays readable"


def test_a_member_made_blind_knows_the_keys_it_had_so_they_are_not_used(cluster: Keyed) -> None:
    cluster.revoke(ANA, CAROL)
    cluster.admit(CAROL, "carol", Role.BLIND)
    assert cluster.log.epoch(cluster.public) is None
    epoch = cluster.rotate(ANA, cluster.public)
    assert epoch not in cluster.held(CAROL).spaces[cluster.public].epochs
    assert cluster.log.space_role(CAROL.node, cluster.public) is Role.BLIND
    assert [member.name for member in cluster.log.readers(cluster.public)] == ["ana", "bob"]
    assert [member.name for member in cluster.log.sharers(cluster.public)] == ["ana", "bob", "carol"]
    assert cluster.log.epoch(NO_SPACE) == 0, "a blind member may know the discovery key"


def test_who_is_granted_again_may_know_what_it_knew(cluster: Keyed) -> None:
    cluster.revoke(ANA, CAROL)
    cluster.admit(CAROL, "carol")
    assert cluster.log.epoch(cluster.public) == 0


def test_a_member_granted_apart_from_a_rotation_shows_as_lacking_until_it_is_granted_again(cluster: Keyed) -> None:
    assert cluster.log.lacking() == ()
    other = cluster.copy()
    cluster.log.add(cluster.admit(DAVE, "dave", issuer=BOB, log=other))
    apart = Membership(cluster.log.cluster, cluster.log.entries_missing_from()[:-1])
    epoch, discovery = cluster.rotate(ANA, cluster.public, apart), cluster.rotate(ANA, NO_SPACE, apart)
    for raw in apart.entries_missing_from(cluster.log.ids()):
        cluster.log.add(raw)
    assert set(cluster.log.lacking()) == {
        (DAVE.node, NO_SPACE, (discovery,)),
        (DAVE.node, cluster.public, (epoch,)),
    }
    mending = cluster.grant(DAVE, "dave")
    cluster.log.add(cluster.log.grant(BOB, mending, cluster.held(BOB), entropy(8), NOW_MS))
    assert cluster.log.lacking() == ()
    assert cluster.held(DAVE).spaces == {
        cluster.public: replace(cluster.held(BOB).spaces[cluster.public], current=epoch)
    }


def test_the_key_of_a_void_epoch_that_some_wrote_under_is_owed_to_all_who_read(cluster: Keyed) -> None:
    """Bob removes ana and renews the key, apart from ana who removes bob: hers stands, carol knew only his."""
    other = cluster.copy()
    cluster.revoke(ANA, BOB)
    cluster.rotate(ANA, cluster.public)
    cluster.revoke(BOB, ANA, log=other)
    void = cluster.rotate(BOB, cluster.public, other)
    for raw in other.entries_missing_from(cluster.log.ids()):
        cluster.log.add(raw)
    assert void not in cluster.log.epochs(cluster.public)
    assert void in cluster.held(CAROL).spaces[cluster.public].epochs
    assert cluster.log.lacking() == ((ANA.node, cluster.public, (void,)),)
    cluster.revoke(ANA, CAROL)
    assert cluster.log.lacking() == (), "nobody is left who could have written under it"


def test_who_does_not_know_a_key_cannot_spoil_it_by_claiming_to_have_told_it(cluster: Keyed) -> None:
    """Bob, removed, signs a grant that seems to hand the new epoch to a stranger."""
    head = cluster.log.ids()[-1:]
    cluster.revoke(ANA, BOB)
    epoch = cluster.rotate(ANA, cluster.public)
    grant = Grant(EVE.node, EVE.sealing_public, "eve", Role.READER, (cluster.public,))
    claimed = encode_part((SealedKey(cluster.public, epoch, b"nothing"),))
    cluster.log.add(state(BOB, cluster.log.cluster, head, grant, claimed, bytes(16), NOW_MS))
    assert cluster.log.epoch(cluster.public) == epoch


def test_junk_sealed_to_a_member_costs_it_nothing(cluster: Keyed) -> None:
    junk = encode_part(tuple(Sealed(CAROL.node, SealedKey(space, 0, b"junk")) for space in (cluster.public, NO_SPACE)))
    rotate = Rotate(cluster.public, hash_key(bytes(32)))
    held = cluster.held(CAROL)
    cluster.log.add(state(BOB, cluster.log.cluster, cluster.log.ids()[-1:], rotate, junk, bytes(16), NOW_MS))
    assert cluster.held(CAROL) == held
    assert rotate.epoch not in held.spaces[cluster.public].epochs


@pytest.mark.parametrize("point", [0, 1, 2**255 - 19, 2**255 - 20])
def test_nobody_becomes_a_member_to_whom_no_key_can_be_sealed(cluster: Keyed, point: int) -> None:
    grant = Grant(EVE.node, point.to_bytes(32, "little"), "eve", Role.READER, (cluster.public,))
    raw = state(BOB, cluster.log.cluster, cluster.log.ids()[-1:], grant, b"", bytes(16), NOW_MS)
    with pytest.raises(PeerFault) as refusal:
        cluster.log.add(raw)
    assert refusal.value.fault is Fault.MALFORMED
    epoch = cluster.rotate(ANA, cluster.public)
    assert epoch in cluster.held(CAROL).spaces[cluster.public].epochs


def test_the_recovery_key_removes_the_founder_and_renews_the_keys(cluster: Keyed) -> None:
    cluster.revoke(RECOVERY, ANA)
    epoch = cluster.rotate(RECOVERY, cluster.public)
    assert cluster.log.epoch(cluster.public) == epoch
    assert epoch in cluster.held(CAROL).spaces[cluster.public].epochs
    assert epoch not in cluster.held(ANA).spaces[cluster.public].epochs


def test_only_an_admin_rotates_and_only_what_there_is(cluster: Keyed) -> None:
    with pytest.raises(Denied, match="admin"):
        cluster.rotate(CAROL, cluster.public)
    with pytest.raises(UsageError, match="no space"):
        cluster.rotate(ANA, SpaceId(b"x" * 16))


def test_an_admin_without_the_keys_in_use_grants_nobody(cluster: Keyed) -> None:
    nothing = ClusterKeys.none(cluster.keys.private)
    with pytest.raises(Denied, match="keys in use"):
        cluster.log.grant(BOB, cluster.grant(EVE, "eve"), nothing, entropy(1), NOW_MS)


def create(cluster: Keyed, name: str, *members: Identity, issuer: Identity = ANA, seed: int = 40) -> SpaceId:
    chosen = [member.node for member in members]
    raw = cluster.log.create_space(issuer, name, chosen, entropy(seed), NOW_MS)
    before = set(cluster.log.spaces())
    cluster.log.add(raw)
    (made,) = set(cluster.log.spaces()) - before
    return made


def test_a_named_space_is_for_admins_and_those_it_is_granted_to(cluster: Keyed) -> None:
    cluster.admit(DAVE, "dave")
    team = create(cluster, "team", CAROL)
    assert cluster.log.spaces() == (cluster.public, team)
    assert cluster.log.epoch(team) == 0, "carol holds its keys, which were never taken from her"
    grant = Grant(CAROL.node, CAROL.sealing_public, "carol", Role.WRITER, (cluster.public, team))
    cluster.log.add(cluster.log.grant(ANA, grant, cluster.held(ANA), entropy(8), NOW_MS))
    assert {member.name for member in cluster.log.readers(team)} == {"ana", "bob", "carol"}
    assert cluster.log.authority(CAROL.node, team) is not None
    for who in (ANA, BOB, CAROL):
        assert cluster.log.space_names(cluster.held(who)) == {cluster.public: "public", team: "team"}
    assert team not in cluster.held(DAVE).spaces
    assert cluster.log.space_names(cluster.held(DAVE)) == {cluster.public: "public"}
    assert cluster.log.authority(DAVE.node, team) is None
    assert cluster.log.lacking() == ()


def test_taking_a_space_from_a_member_ends_its_epoch_and_no_other(cluster: Keyed) -> None:
    team = create(cluster, "team", CAROL)
    grant = Grant(CAROL.node, CAROL.sealing_public, "carol", Role.WRITER, (cluster.public, team))
    cluster.log.add(cluster.log.grant(ANA, grant, cluster.held(ANA), entropy(8), NOW_MS))
    cluster.revoke(ANA, CAROL, team)
    assert [cluster.log.epoch(space) for space in (team, cluster.public, NO_SPACE)] == [None, 0, 0]
    assert cluster.rotate(ANA, team) not in cluster.held(CAROL).spaces[team].epochs


def test_spaces_given_one_name_are_told_apart(cluster: Keyed) -> None:
    first, second = create(cluster, "team"), create(cluster, "team", issuer=BOB, seed=41)
    names = cluster.log.space_names(cluster.held(BOB))
    assert (names[first], names[second]) == ("team", "team-2")


def test_a_space_cannot_be_called_what_every_node_has(cluster: Keyed) -> None:
    for name in ("public", "private", "Team", ""):
        with pytest.raises(UsageError):
            create(cluster, name)
    with pytest.raises(UsageError, match="no member"):
        create(cluster, "team", EVE)
    with pytest.raises(Denied, match="admin"):
        create(cluster, "team", issuer=CAROL)


def test_a_space_whose_id_is_another_entry_s_is_refused(cluster: Keyed) -> None:
    raw = cluster.log.create_space(ANA, "team", (), entropy(40), NOW_MS)
    entry = read_entry(raw)
    assert entry.body is not None
    stolen = state(BOB, cluster.log.cluster, cluster.log.ids()[-1:], entry.body, entry.attachment, bytes(16), NOW_MS)
    with pytest.raises(PeerFault, match="new space"):
        cluster.log.add(stolen)


def test_a_new_admin_is_handed_every_space(cluster: Keyed) -> None:
    team = create(cluster, "team")
    entry = cluster.log.grant(ANA, cluster.grant(DAVE, "dave", Role.ADMIN), cluster.held(ANA), entropy(8), NOW_MS)
    cluster.log.add(entry)
    assert team in cluster.held(DAVE).spaces
    assert cluster.log.lacking() == ()
