"""What members decide and what follows from it in each node's store, without any network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cis.errors import CisError, Denied, Fault, PeerFault, StoreError, UsageError
from cis.model import Kind, SpaceId, replica_id
from cis.node.entry.joining import BATCH_BYTES_MAX, _granted
from cis.node.finding.announcing import FORMER_KEYS_MS, discovery_keys
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.node.membership import cluster as cluster_room
from cis.node.membership.cluster import RENEW_FIRST, Changed
from cis.node.streams.syncing import StoreIndex
from cis.store.author import Write
from cis.store.ledger import logs_of
from cis.trust import ClusterKeys, Identity, Membership, Ticket
from cis.trust.pairwise import Pairwise
from cis.wire.content import Content
from cis.wire.joining import JoinGranted, JoinRequest, decode_join
from cis.wire.membership import NO_SPACE, EntryKind, Grant, Role, decode_cuts
from tests.unit.node.households import admitted, close, household, tell


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[LocalNode]]:
    nodes = household(tmp_path, ("other", Role.WRITER))
    yield nodes
    close(nodes)


def put(node: LocalNode, key: str, text: bytes, space: SpaceId | None = None) -> None:
    """Write, or raise why not."""
    (outcome,) = node.store.write([Write(space or node.cluster.public, Kind.PUT, Content(key, text))]).result()
    if isinstance(outcome, CisError):
        raise outcome


def share(giver: LocalNode, taker: LocalNode, space: SpaceId) -> None:
    """Give another node all that one holds of a space."""
    with giver.store.snapshot() as reader:
        index = StoreIndex(reader, [space])
        for replica, seq in index.standings()[space].vector.seqs.items():
            found = index.segment(space, replica, 1, seq)
            if found is not None:
                taker.store.merge(found[0]).result()


def value(node: LocalNode, key: str) -> bytes | None:
    recalled = node.store.reader.recall(node.cluster.public, key)
    return recalled.latest.content.value if recalled is not None and recalled.latest.content is not None else None


# --- removal -----------------------------------------------------------------------------------------------------


def test_a_removal_and_the_new_keys_are_one_step_and_cut_each_log_where_it_is_held(pair: list[LocalNode]) -> None:
    founder, other = pair
    put(other, "key", b"x")
    share(other, founder, founder.cluster.public)
    before = set(founder.cluster.membership.ids())
    founder.revoke(other.identity.node)
    new = [known for id_, known in founder.cluster.membership.log.known.items() if id_ not in before]
    kinds = [known.entry.statement.kind for known in new]
    assert kinds == [EntryKind.REVOKE, EntryKind.ROTATE, EntryKind.ROTATE]
    held = founder.store.execute(lambda connection: logs_of(connection, other.identity.node)).result()
    cuts = decode_cuts(new[0].entry.attachment)
    assert [(cut.space, cut.replica, cut.seq) for cut in cuts] == held
    assert held[0][2] == 1
    log = founder.cluster.membership
    assert None not in {log.epoch(NO_SPACE), log.epoch(founder.cluster.public)}


def test_a_removal_that_cannot_be_stored_has_not_happened(
    pair: list[LocalNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    founder, other = pair
    digest, keys = founder.cluster.membership.digest(), founder.cluster.keys

    def full(*_: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(cluster_room, "save_entries", full)
    with pytest.raises(StoreError):
        founder.revoke(other.identity.node)
    assert founder.cluster.membership.digest() == digest
    assert founder.cluster.keys == keys
    assert not founder.cluster.membership.revoked(other.identity.node)


def test_a_removal_outlasts_the_process_with_its_new_keys(pair: list[LocalNode]) -> None:
    founder, other = pair
    founder.revoke(other.identity.node)
    keys = founder.cluster.keys
    founder.close()
    with LocalNode.open(founder.home) as again:
        assert again.cluster.keys == keys
        assert again.cluster.membership.revoked(other.identity.node)


def test_what_a_removal_voids_is_taken_back_even_if_the_process_ended_in_between(
    pair: list[LocalNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    founder, other = pair
    founder.revoke(other.identity.node)
    put(other, "void", b"x")
    witness = admitted(founder, LocalNode.create(Home(founder.home.folder.parent / "witness"), "witness"), Role.READER)
    assert value(witness, "void") is None
    monkeypatch.setattr(witness.cluster, "judge", lambda *_: None)
    monkeypatch.setattr(witness.cluster, "limit", lambda *_: None)
    share(other, witness, witness.cluster.public)  # as if it had come before the removal
    assert value(witness, "void") == b"x"
    witness.store.execute(cluster_room.owe_withdrawal).result()
    witness.close()
    with LocalNode.open(witness.home) as again:
        assert value(again, "void") is None


def test_a_removed_node_writes_nothing_more_and_knows_itself_removed(pair: list[LocalNode]) -> None:
    founder, other = pair
    changes: list[Changed] = []
    other.cluster.on_change(changes.append)
    founder.revoke(other.identity.node)
    tell(founder, other)
    assert other.cluster.removed
    assert other.cluster.me.name == "other"
    assert [one.removed for one in changes] == [{other.identity.node: "founder"}]
    with pytest.raises(Denied, match="removed from its cluster"):
        put(other, "key", b"x")
    put(other, "mine", b"x", other.cluster.private)


def test_a_node_granted_again_writes_again(pair: list[LocalNode]) -> None:
    founder, other = pair
    put(other, "before", b"1")
    share(other, founder, founder.cluster.public)
    founder.revoke(other.identity.node)
    tell(founder, other)
    founder.grant(other.identity.node, Role.WRITER)
    tell(founder, other)
    assert founder.cluster.find("other").node == other.identity.node
    put(other, "after", b"2")
    share(other, founder, founder.cluster.public)
    assert (value(founder, "before"), value(founder, "after")) == (b"1", b"2")


def test_a_lesser_grant_is_refused_with_what_to_do(pair: list[LocalNode]) -> None:
    founder, other = pair
    with pytest.raises(UsageError, match="cis acl revoke other"):
        founder.grant(other.identity.node, Role.READER)
    with pytest.raises(Denied):
        other.grant(founder.identity.node, Role.READER)


# --- keys --------------------------------------------------------------------------------------------------------


def test_only_the_current_discovery_key_is_answered_to_and_the_key_of_each_pair(pair: list[LocalNode]) -> None:
    founder, other = pair
    old = founder.cluster.keys.discovery_key
    founder.rotate()
    secrets = [key.secret for key in founder.cluster.handshake_keys()]
    shared = Pairwise(other.identity, founder.cluster.id).key(founder.identity.node, founder.identity.sealing_public)
    assert founder.cluster.keys.discovery_key in secrets
    assert shared in secrets
    assert old not in secrets
    founder.revoke(other.identity.node)
    assert shared not in [key.secret for key in founder.cluster.handshake_keys()]


def test_tags_under_a_renewed_key_are_recognised_for_thirty_days(pair: list[LocalNode]) -> None:
    founder, _ = pair
    first = founder.cluster.keys.discovery_key
    founder.rotate(NO_SPACE)
    second = founder.cluster.keys.discovery_key
    founder.rotate(NO_SPACE)
    now_ms, third = founder.clock_ms(), founder.cluster.keys.discovery_key
    assert discovery_keys(founder.cluster, now_ms) == [third, second, first]
    assert discovery_keys(founder.cluster, now_ms + FORMER_KEYS_MS + 1000) == [third]


def test_nothing_is_written_under_a_key_that_a_removed_node_knows_until_an_admin_renewed_it(tmp_path: Path) -> None:
    nodes = household(tmp_path, ("admin", Role.ADMIN), ("one", Role.WRITER), ("two", Role.WRITER))
    founder, admin, one, two = nodes
    founder.revoke(one.identity.node)
    admin.revoke(two.identity.node)
    both = founder.cluster.membership.entries_missing_from()
    tell(founder, admin)
    assert admin.cluster.membership.epoch(admin.cluster.public) is None
    with pytest.raises(Denied) as denied:
        put(admin, "key", b"x")
    assert str(denied.value) == RENEW_FIRST
    assert admin.keep_up()
    assert not admin.keep_up()
    put(admin, "key", b"x")
    assert len(both) < len(admin.cluster.membership.ids())
    close(nodes)


def test_a_member_admitted_while_the_keys_were_renewed_elsewhere_is_given_them(tmp_path: Path) -> None:
    nodes = household(tmp_path, ("admin", Role.ADMIN))
    founder, admin = nodes
    founder.rotate()
    late = admitted(admin, LocalNode.create(Home(tmp_path / "late"), "late"), Role.WRITER)
    tell(admin, founder)
    assert founder.cluster.membership.lacking()
    assert founder.keep_up()
    assert not founder.cluster.membership.lacking()
    tell(founder, late)
    assert late.cluster.keys.spaces == founder.cluster.keys.spaces
    put(late, "key", b"x")
    close([*nodes, late])


def test_a_bad_entry_among_good_ones_loses_none_of_those_before_it(pair: list[LocalNode]) -> None:
    founder, other = pair
    founder.rotate(NO_SPACE)
    missing = founder.cluster.membership.entries_missing_from(other.cluster.membership.ids())
    with pytest.raises(PeerFault):
        other.cluster.add_entries([*missing, b"\xc1"], other.store)
    key = other.cluster.keys.discovery_key
    assert key == founder.cluster.keys.discovery_key
    other.close()
    with LocalNode.open(other.home) as again:
        assert again.cluster.keys.discovery_key == key


# --- spaces ------------------------------------------------------------------------------------------------------


def test_a_space_is_known_by_name_to_those_it_was_made_for_and_shared_with_these_alone(tmp_path: Path) -> None:
    nodes = household(tmp_path, ("one", Role.WRITER), ("two", Role.WRITER))
    founder, one, two = nodes
    space = founder.create_space("plans", [one.identity.node])
    for node in (one, two):
        tell(founder, node)
    public = founder.cluster.public
    assert one.cluster.space("plans") == founder.cluster.space("plans") == space
    with pytest.raises(UsageError, match="there are public, private"):
        two.cluster.space("plans")
    assert founder.cluster.shared_with(one.identity.node) == sorted([public, space])
    assert founder.cluster.shared_with(two.identity.node) == [public]
    assert two.cluster.shared() == [public]
    assert founder.cluster.sharing() == {space: frozenset({one.identity.node})}
    assert two.cluster.sharing() == {}
    put(one, "key", b"x", space)
    with pytest.raises(UsageError, match="already"):
        founder.create_space("plans")
    close(nodes)


def test_a_member_let_into_a_space_later_reads_what_was_there_before(tmp_path: Path) -> None:
    nodes = household(tmp_path, ("one", Role.WRITER))
    founder, one = nodes
    space = founder.create_space("plans")
    put(founder, "old", b"x", space)
    founder.rotate(space)
    founder.grant(one.identity.node, Role.READER, [space])
    tell(founder, one)
    share(founder, one, space)
    recalled = one.store.reader.recall(space, "old")
    assert recalled is not None
    assert recalled.latest.content is not None
    with pytest.raises(Denied):
        put(one, "mine", b"y", space)
    close(nodes)


def test_a_joiner_that_may_only_read_keeps_its_own_memories_to_itself(tmp_path: Path) -> None:
    founder = LocalNode.create(Home(tmp_path / "founder"), "founder")
    joiner = LocalNode.create(Home(tmp_path / "joiner"), "joiner")
    put(joiner, "mine", b"x")
    space = joiner.create_space("plans")
    put(joiner, "plan", b"y", space)
    admitted(founder, joiner, Role.READER)
    for key in ("mine", "plan"):
        assert joiner.store.reader.recall(joiner.cluster.private, key) is not None
        assert joiner.store.reader.recall(joiner.cluster.public, key) is None
    close([founder, joiner])


# --- joining -----------------------------------------------------------------------------------------------------


def test_a_ticket_that_two_nodes_show_admits_the_first(tmp_path: Path) -> None:
    founder = LocalNode.create(Home(tmp_path / "founder"), "founder")
    first, second = (LocalNode.create(Home(tmp_path / name), name) for name in ("first", "second"))
    ticket = founder.cluster.invite(founder.store, Role.WRITER, None, 60_000, ())

    def ask(node: LocalNode) -> tuple[bytes, ...]:
        request = JoinRequest(node.identity.sealing_public, "n")
        return founder.cluster.admit(founder.store, ticket.id, node.identity.node, request)

    told = ask(first)
    assert ask(first) == told  # the answer was lost
    with pytest.raises(PeerFault) as refusal:
        ask(second)
    assert refusal.value.fault is Fault.TICKET
    close([founder, first, second])


def redeem(issuer: LocalNode, ticket: Ticket, node: LocalNode) -> tuple[bytes, ...]:
    request = JoinRequest(node.identity.sealing_public, "n")
    return issuer.cluster.admit(issuer.store, ticket.id, node.identity.node, request)


def refused(issuer: LocalNode, ticket: Ticket, node: LocalNode) -> bool:
    with pytest.raises(PeerFault) as refusal:
        redeem(issuer, ticket, node)
    return refusal.value.fault is Fault.TICKET


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("bound", [False, True])
def test_a_removed_node_does_not_come_back_by_the_ticket_it_joined_by(
    tmp_path: Path, *, bound: bool, restarted: bool
) -> None:
    founder, admin = household(tmp_path, ("admin", Role.ADMIN))
    one = LocalNode.create(Home(tmp_path / "one"), "one")
    joined, unused = (
        founder.cluster.invite(
            founder.store, Role.WRITER, None, 60_000, (), bound_to=one.identity.node if bound else None
        )
        for _ in range(2)
    )
    redeem(founder, joined, one)
    tell(founder, admin)
    admin.revoke(one.identity.node)
    tell(admin, founder)
    if restarted:
        founder.close()
        founder = LocalNode.open(founder.home)
    assert refused(founder, joined, one)
    assert joined.id not in {one.id for one in founder.cluster.invitations.all()}
    if bound:
        assert refused(founder, unused, one)
    else:
        assert [one.id for one in founder.cluster.invitations.usable()] == [unused.id]
    assert founder.cluster.membership.member(one.identity.node) is None
    close([founder, admin, one])


def test_a_removal_and_the_end_of_its_tickets_are_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (founder,) = household(tmp_path)
    one = LocalNode.create(Home(tmp_path / "one"), "one")
    ticket = founder.cluster.invite(founder.store, Role.WRITER, None, 60_000, ())
    redeem(founder, ticket, one)

    def full(*_: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(cluster_room, "owe_withdrawal", full)
        with pytest.raises(StoreError):
            founder.revoke(one.identity.node)
    assert redeem(founder, ticket, one) == tuple(founder.cluster.membership.entries_missing_from())
    close([founder, one])


def test_a_ticket_whose_record_outlived_the_removal_admits_nobody_again(tmp_path: Path) -> None:
    (founder,) = household(tmp_path)
    one = LocalNode.create(Home(tmp_path / "one"), "one")
    ticket = founder.cluster.invite(founder.store, Role.WRITER, None, 60_000, ())
    redeem(founder, ticket, one)
    (record,) = founder.cluster.invitations.all()
    founder.revoke(one.identity.node)
    founder.cluster.invitations.keep(record)
    assert refused(founder, ticket, one)
    close([founder, one])


def test_a_new_ticket_lets_a_removed_node_back_in_and_gives_a_restored_one_its_keys(tmp_path: Path) -> None:
    (founder,) = household(tmp_path)
    one = LocalNode.create(Home(tmp_path / "one"), "one")
    for removed in (False, False, True):
        if removed:
            founder.revoke(one.identity.node)
        ticket = founder.cluster.invite(founder.store, Role.WRITER, None, 60_000, ())
        before = len(founder.cluster.membership.ids())
        membership = Membership(founder.cluster.id, redeem(founder, ticket, one))
        assert len(membership.ids()) == before + 1, "a grant with the keys of today"
        keys = membership.keys_of(one.identity, ClusterKeys.none(one.cluster.keys.private))
        assert keys.discovery_key == founder.cluster.keys.discovery_key
    close([founder, one])


def test_the_tickets_a_removed_admin_made_end_with_it(tmp_path: Path) -> None:
    founder, admin = household(tmp_path, ("admin", Role.ADMIN))
    admin.cluster.invite(admin.store, Role.WRITER, None, 60_000, ())
    founder.revoke(admin.identity.node)
    tell(founder, admin)
    assert admin.cluster.invitations.all() == []
    close([founder, admin])


def test_nobody_is_made_an_admin_of_one_space(tmp_path: Path) -> None:
    founder, one = household(tmp_path, ("one", Role.WRITER))
    space = founder.create_space("notes")
    with pytest.raises(UsageError, match="every space"):
        founder.grant(one.identity.node, Role.ADMIN, (space,))
    with pytest.raises(UsageError, match="every space"):
        founder.cluster.invite(founder.store, Role.ADMIN, None, 60_000, (), spaces=(space,))
    member = founder.cluster.membership.member(one.identity.node)
    assert member is not None
    assert member.role is Role.WRITER
    close([founder, one])


def test_a_member_that_cannot_be_given_keys_keeps_nobody_else_from_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    founder, admin, bad, good = household(tmp_path, ("admin", Role.ADMIN), ("bad", Role.READER), ("good", Role.READER))
    tell(founder, admin)
    apart = [LocalNode.create(Home(tmp_path / name), name) for name in ("new-a", "new-b")]
    for node in apart:
        admitted(admin, node, Role.READER)
    founder.rotate()
    tell(admin, founder)
    lacking = {node for node, _, _ in founder.cluster.membership.lacking()}
    assert lacking == {node.identity.node for node in apart}
    grant = Membership.grant

    def failing(log: Membership, issuer: Identity, body: Grant, *rest: Any) -> bytes:
        if body.name == "new-a":
            raise PeerFault(Fault.MALFORMED, "not a usable X25519 key")
        return grant(log, issuer, body, *rest)

    monkeypatch.setattr(Membership, "grant", failing)
    assert founder.keep_up()
    assert {node for node, _, _ in founder.cluster.membership.lacking()} == {apart[0].identity.node}
    close([founder, admin, bad, good, *apart])


def test_a_log_larger_than_a_frame_reaches_a_joiner_in_several() -> None:
    entries = [bytes(BATCH_BYTES_MAX // 2)] * 5
    frames = [decode_join(frame) for frame in _granted(entries)]
    assert [frame.more for frame in frames if isinstance(frame, JoinGranted)] == [True, True, False]
    assert [raw for frame in frames if isinstance(frame, JoinGranted) for raw in frame.entries] == entries


# --- what removed admins may not do ------------------------------------------------------------------------------


def test_a_removed_admin_can_speak_for_nobody(tmp_path: Path) -> None:
    nodes = household(tmp_path, ("evil", Role.ADMIN), ("one", Role.WRITER))
    founder, evil, one = nodes
    founder.revoke(one.identity.node)
    founder.revoke(evil.identity.node)
    grant = Grant(one.identity.node, evil.identity.sealing_public, "one", Role.ADMIN, ())
    log = evil.cluster.membership.copy()
    raw = log.grant(evil.identity, grant, evil.cluster.keys, evil.entropy, evil.clock_ms())
    assert founder.cluster.add_entries([raw], founder.store) == 1  # it is kept, and has no effect
    former = founder.cluster.former(one.identity.node)
    assert former is not None
    assert former.sealing_key == one.identity.sealing_public
    assert founder.cluster.former_admins() == (evil.identity.node,)
    founder.grant(one.identity.node, Role.WRITER)
    member = founder.cluster.membership.member(one.identity.node)
    assert member is not None
    assert (member.role, member.sealing_key) == (Role.WRITER, one.identity.sealing_public)
    close(nodes)


def test_a_log_under_a_new_incarnation_after_a_removal_is_cut_whole(pair: list[LocalNode]) -> None:
    founder, other = pair
    put(other, "key", b"x")
    share(other, founder, founder.cluster.public)
    public, judge = founder.cluster.public, founder.cluster.judge
    head = other.cluster.authority(public)
    founder.revoke(other.identity.node)
    fresh = replica_id(other.identity.node, b"another!")
    assert judge(fresh, public, head, 1) is Fault.CUT
    assert judge(other.store.replica, public, head, 1) is None
    assert judge(other.store.replica, public, head, 2) is Fault.CUT
    assert judge(other.store.replica, public, bytes(32), 1) is Fault.BUSY
    assert judge(founder.store.replica, founder.cluster.private, head, 1) is Fault.UNAUTHORISED
    founder.grant(other.identity.node, Role.WRITER)
    assert judge(fresh, public, head, 1) is Fault.CUT
    after = founder.cluster.membership.authority(other.identity.node, public)
    assert after is not None
    assert judge(fresh, public, after, 1) is None
