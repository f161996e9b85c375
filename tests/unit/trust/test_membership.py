from __future__ import annotations

from itertools import permutations

import pytest

from cis.errors import Denied, Fault, PeerFault, UsageError
from cis.model import SpaceId
from cis.trust import log as log_module
from cis.trust.entries import hash_attachment, read_entry, sign_entry, verify_chain, without_attachment
from cis.trust.identity import Identity
from cis.trust.keys import ClusterKeys, private_keys
from cis.trust.membership import Membership, found, state
from cis.wire.membership import (
    NO_CLUSTER,
    Entry,
    Grant,
    Role,
    Statement,
    decode_entry,
    encode_part,
)
from tests.unit.trust.cluster import NOW_MS, Cluster, entropy, identity

BOB, CAROL, DAVE = identity(2), identity(3), identity(4)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def faulted(log: Membership, raw: bytes) -> Fault:
    before = log.digest()
    with pytest.raises(PeerFault) as raised:
        log.add(raw)
    assert log.digest() == before
    return raised.value.fault


def unknown_kind(issuer: Identity, log: Membership) -> bytes:
    statement = Statement(
        77, log.cluster, log.ids()[-1:], issuer.node, NOW_MS, bytes(16), b"later", hash_attachment(b"")
    )
    return sign_entry(issuer, statement, b"")


def test_the_founder_is_admin_of_a_cluster_named_by_the_hash_of_its_grant(cluster: Cluster) -> None:
    (founding,) = cluster.log.entries_missing_from()
    assert cluster.log.cluster == read_entry(founding).id
    (ana,) = cluster.log.members()
    assert (ana.node, ana.name, ana.role) == (cluster.ana.node, "ana", Role.ADMIN)
    assert cluster.log.may_write(ana.node, SpaceId(bytes(16)), cluster.log.cluster)


def test_two_foundings_make_two_clusters() -> None:
    clusters = {found(BOB, "bob", entropy(seed), NOW_MS).membership.cluster for seed in (1, 2)}
    assert len(clusters) == 2


def test_a_name_is_refused_where_it_could_be_read_for_another() -> None:
    for name in ("", "Bob", "bob\n", "a b", "x" * 33, "bøb", "a/b"):
        with pytest.raises(UsageError, match="cannot name a node"):
            found(BOB, name, entropy(1), NOW_MS)


def test_a_grant_takes_effect_by_being_added_and_only_then(cluster: Cluster) -> None:
    entry = cluster.log.grant(cluster.ana, cluster.grant(BOB, "bob"), cluster.keys, entropy(5), NOW_MS)
    assert cluster.log.member(BOB.node) is None
    (added,) = cluster.log.add(entry)
    assert added.raw == entry
    bob = cluster.log.member(BOB.node)
    assert bob is not None
    assert (bob.name, bob.role, bob.spaces) == ("bob", Role.WRITER, {cluster.public})
    assert cluster.log.add(entry) == []


def test_a_member_opens_the_keys_its_grant_carries(cluster: Cluster) -> None:
    cluster.admit(BOB, "bob")
    private = private_keys(cluster.log.cluster, entropy(6))
    opened = cluster.log.keys_of(BOB, ClusterKeys.none(private))
    assert opened.discovery == cluster.keys.discovery
    assert opened.spaces == cluster.keys.spaces
    assert opened.private == private != cluster.keys.private


def test_a_blind_member_is_given_no_key_of_a_space(cluster: Cluster) -> None:
    cluster.admit(BOB, "bob", Role.BLIND)
    assert cluster.log.keys_of(BOB, ClusterKeys.none(cluster.keys.private)).spaces == {}


def test_writers_and_admins_write_and_no_one_else(cluster: Cluster) -> None:
    for who, name, role in ((BOB, "w", Role.WRITER), (CAROL, "r", Role.READER), (DAVE, "b", Role.BLIND)):
        cluster.admit(who, name, role)
    log = cluster.log
    assert [log.authority(who.node, cluster.public) is not None for who in (cluster.ana, BOB, CAROL, DAVE)] == [
        True,
        True,
        False,
        False,
    ]
    assert log.authority(BOB.node, SpaceId(bytes(16))) is None


def test_rights_are_those_of_the_head_that_is_named(cluster: Cluster) -> None:
    cluster.admit(BOB, "bob")
    log, public = cluster.log, cluster.public
    head = log.authority(BOB.node, public)
    assert head is not None
    assert log.knows(head)
    assert log.may_write(BOB.node, public, head)
    assert not log.may_write(BOB.node, public, log.cluster), "at the founding entry bob was no member yet"
    assert not log.may_write(BOB.node, public, bytes(32)), "an unknown head gives no right"
    assert not log.knows(bytes(32))


def test_everyone_with_a_right_finds_a_head_that_shows_it_while_there_are_several(cluster: Cluster) -> None:
    cluster.admit(BOB, "bob", Role.ADMIN)
    one, two = cluster.copy(), cluster.copy()
    left = cluster.admit(CAROL, "carol", log=one)
    right = cluster.admit(DAVE, "dave", issuer=BOB, log=two)
    one.add(right)
    two.add(left)
    for who in (cluster.ana, BOB, CAROL, DAVE):
        head = one.authority(who.node, cluster.public)
        assert head is not None
        assert head == two.authority(who.node, cluster.public)
        assert one.may_write(who.node, cluster.public, head)
    assert one.authority(CAROL.node, cluster.public) == read_entry(left).id
    assert one.authority(DAVE.node, cluster.public) == read_entry(right).id


def test_the_next_entry_joins_the_heads(cluster: Cluster) -> None:
    cluster.admit(BOB, "bob", Role.ADMIN)
    other = cluster.copy()
    cluster.admit(CAROL, "carol")
    cluster.log.add(cluster.admit(DAVE, "dave", issuer=BOB, log=other))
    cluster.admit(identity(5), "eve")
    assert len(cluster.log.log.heads) == 1


def test_entries_arriving_in_any_order_make_one_log(cluster: Cluster) -> None:
    cluster.admit(BOB, "bob", Role.ADMIN)
    other = cluster.copy()
    cluster.admit(CAROL, "twin")
    cluster.log.add(cluster.admit(DAVE, "twin", issuer=BOB, log=other))
    entries = cluster.log.entries_missing_from()
    assert len(entries) == 4
    for order in permutations(entries):
        log = Membership(cluster.log.cluster)
        known = [entry.raw for raw in order for entry in log.add(raw)]
        assert sorted(known) == sorted(entries)
        assert log.digest() == cluster.log.digest()
        assert log.members() == cluster.log.members()
        assert log.log._waiting == {}


def test_two_members_given_one_name_apart_get_two(cluster: Cluster) -> None:
    cluster.admit(BOB, "bob", Role.ADMIN)
    other = cluster.copy()
    entries = [cluster.admit(CAROL, "twin"), cluster.admit(DAVE, "twin", issuer=BOB, log=other)]
    cluster.log.add(entries[1])
    first, second = sorted((read_entry(raw) for raw in entries), key=lambda entry: entry.id)
    names = {member.node: member.name for member in cluster.log.members()}
    assert first.grant
    assert second.grant
    assert (names[first.grant.subject], names[second.grant.subject]) == ("twin", "twin-2")


def test_a_taken_name_is_refused_and_a_free_one_offered(cluster: Cluster) -> None:
    cluster.admit(BOB, "bob")
    with pytest.raises(UsageError, match="taken"):
        cluster.log.grant(cluster.ana, cluster.grant(CAROL, "bob"), cluster.keys, entropy(1), NOW_MS)
    assert cluster.log.free_name("bob") == "bob-2"
    assert cluster.log.free_name("carol") == "carol"


def test_only_an_admin_grants(cluster: Cluster) -> None:
    cluster.admit(BOB, "bob")
    with pytest.raises(Denied, match="admin"):
        cluster.log.grant(BOB, cluster.grant(CAROL, "carol"), cluster.keys, entropy(1), NOW_MS)


def test_a_grant_by_a_writer_or_a_stranger_is_refused(cluster: Cluster) -> None:
    cluster.admit(BOB, "bob")
    for issuer in (BOB, DAVE):
        grant = cluster.grant(CAROL, "carol", Role.ADMIN)
        raw = state(issuer, cluster.log.cluster, cluster.log.ids()[-1:], grant, b"", bytes(16), NOW_MS)
        assert faulted(cluster.log, raw) is Fault.UNAUTHORISED


def test_a_right_gained_elsewhere_does_not_help_an_entry_that_does_not_follow_it(cluster: Cluster) -> None:
    founding = cluster.log.ids()
    cluster.admit(BOB, "bob", Role.ADMIN)
    raw = state(BOB, cluster.log.cluster, founding, cluster.grant(CAROL, "carol"), b"", bytes(16), NOW_MS)
    assert faulted(cluster.log, raw) is Fault.UNAUTHORISED


def test_an_altered_entry_is_refused_whichever_byte_it_is(cluster: Cluster) -> None:
    behind = cluster.copy()
    raw = cluster.admit(BOB, "bob")
    for place in range(len(raw)):
        altered = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        assert faulted(behind, altered) in {
            Fault.MALFORMED,
            Fault.TOO_LARGE,
            Fault.BAD_SIGNATURE,
            Fault.BAD_HASH,
        }


def test_an_entry_whose_keys_were_taken_out_is_no_whole_entry(cluster: Cluster) -> None:
    behind = cluster.copy()
    assert faulted(behind, without_attachment(cluster.admit(BOB, "bob"))) is Fault.BAD_HASH


def test_an_entry_of_another_cluster_is_refused(cluster: Cluster) -> None:
    other = Cluster(seed=9)
    for raw in (other.log.entries_missing_from()[0], other.admit(BOB, "bob")):
        assert faulted(cluster.log, raw) is Fault.UNAUTHORISED


def test_no_second_entry_founds_the_cluster(cluster: Cluster) -> None:
    grant = cluster.grant(BOB, "bob", Role.ADMIN)
    for named in (NO_CLUSTER, cluster.log.cluster):
        raw = state(BOB, named, (), grant, b"", bytes(16), NOW_MS)
        assert faulted(cluster.log, raw) is Fault.UNAUTHORISED


def test_an_unknown_kind_is_kept_and_relayed_and_confers_nothing(cluster: Cluster) -> None:
    raw = unknown_kind(cluster.ana, cluster.log)
    (added,) = cluster.log.add(raw)
    assert added.grant is None
    assert raw in cluster.log.entries_missing_from()
    assert len(cluster.log.members()) == 1
    cluster.admit(BOB, "bob")
    copy = cluster.copy()
    assert copy.digest() == cluster.log.digest()
    assert copy.member(BOB.node) is not None


def test_an_unknown_kind_by_one_who_is_no_admin_is_refused(cluster: Cluster) -> None:
    cluster.admit(BOB, "bob")
    assert faulted(cluster.log, unknown_kind(BOB, cluster.log)) is Fault.UNAUTHORISED


def test_parked_entries_are_bounded(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "PARKED_MAX", 4)
    waiting = Membership(cluster.log.cluster)
    entries = [cluster.admit(identity(50 + number), f"n{number}") for number in range(8)]
    for raw in entries:
        assert waiting.add(raw) == []
    assert len(waiting.log._parked) == 4
    assert len(waiting.log._waiting) == 4
    for raw in cluster.log.entries_missing_from():
        waiting.add(raw)
    assert waiting.digest() == cluster.log.digest()
    assert waiting.log._parked_bytes == 0


def test_a_parked_entry_without_the_right_is_dropped_when_that_shows(cluster: Cluster) -> None:
    behind = cluster.copy()
    admitted = cluster.admit(BOB, "bob")
    forged = state(
        BOB,
        cluster.log.cluster,
        (read_entry(admitted).id,),
        cluster.grant(CAROL, "c"),
        b"",
        bytes(16),
        NOW_MS,
    )
    assert behind.add(forged) == []
    assert [entry.raw for entry in behind.add(admitted)] == [admitted]
    assert behind.member(CAROL.node) is None


def test_logs_tell_what_the_other_lacks_parents_first(cluster: Cluster) -> None:
    behind = cluster.copy()
    added = [cluster.admit(BOB, "bob"), cluster.admit(CAROL, "carol")]
    assert cluster.log.entries_missing_from(behind.ids()) == added
    assert behind.entries_missing_from(cluster.log.ids()) == []


def test_a_stronger_role_holds_over_a_weaker_one_whenever_it_was_given(cluster: Cluster) -> None:
    cluster.admit(BOB, "bob", Role.ADMIN)
    cluster.admit(BOB, "robert", Role.READER)
    bob = cluster.log.member(BOB.node)
    assert bob is not None
    assert (bob.role, bob.name) == (Role.ADMIN, "robert")


def test_a_chain_leads_from_the_founder_through_admins(cluster: Cluster) -> None:
    cluster.admit(BOB, "bob", Role.ADMIN)
    cluster.admit(CAROL, "carol", issuer=BOB)
    chain = cluster.log.chain(CAROL.node)
    assert len(chain) == 3
    assert verify_chain(cluster.log.cluster, CAROL.node, chain)
    assert not verify_chain(cluster.log.cluster, DAVE.node, chain)
    assert not verify_chain(bytes(32), CAROL.node, chain)
    assert not verify_chain(cluster.log.cluster, CAROL.node, chain[1:])
    assert not verify_chain(cluster.log.cluster, CAROL.node, (chain[0], chain[2]))
    assert not verify_chain(cluster.log.cluster, CAROL.node, (*chain[:2], b"junk"))
    assert not verify_chain(cluster.log.cluster, CAROL.node, ())
    assert cluster.log.chain(DAVE.node) == ()


def test_a_sealing_key_of_small_order_is_refused(cluster: Cluster) -> None:
    grant = Grant(BOB.node, bytes(32), "bob", Role.WRITER, (cluster.public,))
    with pytest.raises(PeerFault) as raised:
        cluster.log.grant(cluster.ana, grant, cluster.keys, entropy(1), NOW_MS)
    assert raised.value.fault is Fault.MALFORMED


def test_keys_sealed_to_one_do_not_open_for_another_nor_under_another_cluster(cluster: Cluster) -> None:
    raw = cluster.admit(BOB, "bob")
    entry = decode_entry(raw)
    statement = read_entry(raw).statement
    stolen = Statement(
        statement.kind,
        statement.cluster,
        cluster.log.ids()[-1:],
        cluster.ana.node,
        NOW_MS,
        bytes(16),
        encode_part(cluster.grant(CAROL, "carol")),
        statement.attachment_hash,
    )
    cluster.log.add(sign_entry(cluster.ana, stolen, entry.attachment))
    with pytest.raises(PeerFault):
        cluster.log.keys_of(CAROL, ClusterKeys.none(cluster.keys.private))


def test_the_signature_is_over_the_received_bytes(cluster: Cluster) -> None:
    raw = cluster.admit(BOB, "bob")
    entry = decode_entry(raw)
    assert encode_part(Entry(entry.statement, entry.signature, entry.attachment)) == raw
