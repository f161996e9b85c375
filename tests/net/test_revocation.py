"""Removal, renewed keys and spaces of some members, among real nodes over real QUIC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from cis.errors import Denied
from cis.model import Kind, SpaceId
from cis.node import meeting
from cis.node.bulletins.topics import CHANGES, Verdict
from cis.node.core.events import PartingAsked
from cis.node.driver import Driver
from cis.node.entry import appeals
from cis.node.entry.joining import join
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.peers import Target
from cis.store.author import Write
from cis.trust import Identity
from cis.trust.acl import Acl, Mode
from cis.trust.bulletins import open_any, read_bulletin
from cis.trust.sealing import Unreadable
from cis.wire.bulletins import BulletinContent
from cis.wire.content import Content
from cis.wire.membership import Role
from cis.wire.messages import MembershipIds, Message, Summary, encode
from tests.net.cluster import cluster, meet, put, running, state, until, value

pytestmark = pytest.mark.timeout(60)
AT_ONCE_S = 1.0
"""How soon all must have parted with a removed node, on loopback."""


@pytest.fixture
async def three(tmp_path: Path) -> AsyncIterator[list[LocalNode]]:
    nodes = await cluster(tmp_path, "first", "second", "third")
    yield nodes
    for node in nodes:
        node.close()


async def run_all(stack: AsyncExitStack, nodes: list[LocalNode]) -> list[Driver]:
    """Run nodes, all connected with each other."""
    drivers = [await stack.enter_async_context(running(node)) for node in nodes]
    for driver in drivers[1:]:
        meet(driver, drivers[0])
    await until(lambda: all(len(driver.links) == len(nodes) - 1 for driver in drivers))
    await until(lambda: all(len(driver.core.overlay.neighbours) == len(nodes) - 1 for driver in drivers))
    return drivers


def known_of(driver: Driver, other: LocalNode) -> bool:
    """Whether a node still has anything of another: a link, a place in its book, a neighbour."""
    node = other.identity.node
    return (
        driver.core.link_to(node) is not None
        or driver.core.book.get(node) is not None
        or node in driver.core.overlay.neighbours
        or any(link.node == node for link in driver.links.values())
    )


async def removing(admin: LocalNode, subject: LocalNode, *spaces: SpaceId) -> None:
    await asyncio.to_thread(admin.revoke, subject.identity.node, spaces)


# --- removal -----------------------------------------------------------------------------------------------------


async def test_a_removed_node_is_parted_with_by_all_at_once_and_told_by_whom(three: list[LocalNode]) -> None:
    async with AsyncExitStack() as stack:
        one, two, three_ = await run_all(stack, three)
        await removing(three[0], three[2])
        await until(lambda: not known_of(one, three[2]) and not known_of(two, three[2]), AT_ONCE_S)
        await until(lambda: not three_.links)
        errors = {peer.last_error for peer in three_.core.book if peer.last_error}
        assert any("removed from the cluster by first" in error for error in errors)


async def test_a_removed_node_that_dials_again_is_refused_and_its_user_reads_why(three: list[LocalNode]) -> None:
    async with AsyncExitStack() as stack:
        one, two = await run_all(stack, three[:2])
        await removing(three[0], three[2])
        await until(lambda: three[1].cluster.membership.revoked(three[2].identity.node))
        last = await stack.enter_async_context(running(three[2]))
        meet(last, one)
        meet(last, two)
        await until(lambda: len(last.problems) >= 2)
        told = ("may have been removed from the cluster", "membership was taken away")
        assert all(any(text in reason for text in told) for reason in last.problems.values())
        assert not one.core.link_to(three[2].identity.node)
        assert not last.links


async def test_one_that_still_holds_the_new_keys_is_refused_in_the_handshake(three: list[LocalNode]) -> None:
    async with AsyncExitStack() as stack:
        (one,) = await run_all(stack, three[:1])
        await removing(three[0], three[2])
        three[2].cluster.keys = three[0].cluster.keys  # as if another member had passed them on
        last = await stack.enter_async_context(running(three[2]))
        meet(last, one)
        await until(lambda: last.problems)
        assert "membership was taken away" in next(iter(last.problems.values()))
        assert not one.links


async def test_what_a_removed_node_writes_afterwards_nobody_takes_even_by_one_that_has_not_heard(
    three: list[LocalNode],
) -> None:
    first, second, third = three
    async with AsyncExitStack() as stack:
        drivers = await run_all(stack, three)
        await put(third, "before", b"counts")
        await until(lambda: value(first, "before") == b"counts" and value(second, "before") == b"counts")
        drivers[0].report(PartingAsked(second.identity.node))
        drivers[0].report(PartingAsked(third.identity.node))
        await until(lambda: not drivers[0].links)
        await removing(first, third)
        await put(third, "after", b"void")
        await until(lambda: value(second, "after") == b"void")  # it has not heard
    async with running(first) as one, running(second) as two:
        meet(two, one)
        await until(lambda: one.links and two.links)
        await until(lambda: value(second, "after") is None)
        await put(second, "last", b"word")
        await until(lambda: value(first, "last") == b"word")
        await until(lambda: state(first) == state(second))
        assert value(first, "after") is None
        assert value(first, "before") == value(second, "before") == b"counts"


async def test_a_removal_without_a_running_node_takes_effect_when_it_runs(three: list[LocalNode]) -> None:
    await removing(three[0], three[2])
    async with running(three[0]) as one, running(three[1]) as two, running(three[2]) as last:
        meet(two, one)
        await until(lambda: three[1].cluster.membership.revoked(three[2].identity.node))
        meet(last, two)
        await until(lambda: last.problems)
        assert not last.links


async def test_what_was_decided_is_recorded_where_it_was_and_where_it_is_learned(three: list[LocalNode]) -> None:
    async with AsyncExitStack() as stack:
        await run_all(stack, three[:2])
        await removing(three[0], three[2])
        await until(lambda: three[1].cluster.membership.revoked(three[2].identity.node))
        for node in three[:2]:
            await until(lambda node=node: any(one.what == "revoked" for one in node.decisions(100)))
            (revoked,) = [one for one in node.decisions(100) if one.what == "revoked"]
            assert (revoked.node, revoked.detail) == (three[2].identity.node, "from the cluster, by first")
            assert {"rotated", "admitted"} <= {one.what for one in node.decisions(100)}


# --- keys --------------------------------------------------------------------------------------------------------


async def test_a_member_that_was_away_during_a_renewal_comes_back(three: list[LocalNode]) -> None:
    async with AsyncExitStack() as stack:
        await run_all(stack, three[:2])
        old = three[1].cluster.keys.discovery_key
        await removing(three[0], three[2])
        await until(lambda: three[1].cluster.keys.discovery_key != old)
    away = three[1]
    await asyncio.to_thread(three[0].rotate)
    await put(three[0], "new", b"under a new key")
    assert away.cluster.keys.discovery_key != three[0].cluster.keys.discovery_key
    async with running(three[0]) as one, running(away) as two:
        meet(two, one)
        await until(lambda: value(away, "new") == b"under a new key")
        assert away.cluster.keys.discovery_key == three[0].cluster.keys.discovery_key


async def test_one_that_renewed_reaches_a_member_that_has_not_heard(three: list[LocalNode]) -> None:
    await asyncio.to_thread(three[0].rotate)
    async with running(three[0]) as one, running(three[1]) as two:
        meet(one, two)
        await until(lambda: three[1].cluster.keys.discovery_key == three[0].cluster.keys.discovery_key)


async def test_a_removed_node_with_all_its_keys_reads_nothing_written_under_the_new_ones(
    three: list[LocalNode],
) -> None:
    await removing(three[0], three[2])
    before, after = three[2].cluster.keys.spaces, three[0].cluster.keys.spaces
    public = three[0].cluster.public
    assert after[public].current not in before[public].epochs
    assert set(after[public].epochs) > set(before[public].epochs)


async def test_admins_that_remove_each_other_apart_agree_afterwards_that_the_senior_stands(
    tmp_path: Path,
) -> None:
    nodes = await cluster(tmp_path, "founder", "admin", "other", "writer")
    founder, admin, other, writer = nodes
    for node in (admin, other):
        await asyncio.to_thread(founder.grant, node.identity.node, Role.ADMIN)
    async with AsyncExitStack() as stack:
        await run_all(stack, nodes)
        await until(lambda: admin.cluster.is_admin and other.cluster.is_admin)
        heads = {node.cluster.membership.digest() for node in nodes}
        assert len(heads) == 1
    senior, junior = (admin, other) if _first_admin(founder) == admin.identity.node else (other, admin)
    await removing(junior, senior)
    await removing(senior, junior)
    async with AsyncExitStack() as stack:
        drivers = [await stack.enter_async_context(running(node)) for node in (founder, senior, writer)]
        for driver in drivers[1:]:
            meet(driver, drivers[0])
        lone = await stack.enter_async_context(running(junior))
        meet(lone, drivers[2])
        left = (founder, senior, writer)
        await until(lambda: all(node.cluster.membership.revoked(junior.identity.node) for node in left))
        await until(lambda: len({node.cluster.membership.digest() for node in left}) == 1)
        assert all(node.cluster.membership.member(senior.identity.node) is not None for node in left)
        await until(lambda: all(node.cluster.membership.epoch(founder.cluster.public) is not None for node in left))
        await put(senior, "still", b"here")
        await until(lambda: value(writer, "still") == b"here")
    for node in nodes:
        node.close()


async def test_an_admin_whose_removal_all_others_learned_first_is_heard_and_its_own_word_stands(
    tmp_path: Path,
) -> None:
    nodes = await cluster(tmp_path, "founder", "junior", "writer")
    founder, junior, writer = nodes
    await asyncio.to_thread(founder.grant, junior.identity.node, Role.ADMIN)
    async with AsyncExitStack() as stack:
        await run_all(stack, nodes)
        await until(lambda: junior.cluster.is_admin and len({n.cluster.membership.digest() for n in nodes}) == 1)
    await removing(founder, junior)
    async with AsyncExitStack() as stack:
        await run_all(stack, [junior, writer])
        await removing(junior, founder)
        await until(lambda: writer.cluster.membership.revoked(founder.identity.node))
    async with running(writer) as two, running(founder) as one:
        meet(one, two)
        await until(lambda: writer.cluster.membership.revoked(junior.identity.node))
        assert writer.cluster.membership.member(founder.identity.node) is not None
        await until(lambda: one.links and two.links)
        await put(founder, "still", b"here")
        await until(lambda: value(writer, "still") == b"here")
    for node in nodes:
        node.close()


async def test_a_removed_admin_is_shown_nothing_and_told_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Message] = []

    def overheard(message: Message) -> bytes:
        said.append(message)
        return encode(message)

    monkeypatch.setattr(appeals, "encode", overheard)
    nodes = await cluster(tmp_path, "founder", "lost")
    founder, lost = nodes
    await asyncio.to_thread(founder.grant, lost.identity.node, Role.ADMIN)
    async with AsyncExitStack() as stack:
        await run_all(stack, nodes)
        await until(lambda: lost.cluster.is_admin)
    await removing(founder, lost)
    await put(founder, "later", b"secret")
    known = lost.cluster.membership.digest()
    async with running(founder) as one, running(lost) as two:
        meet(two, one)
        await until(lambda: any(meeting.REMOVED in peer.last_error for peer in two.core.book))
        assert not one.links
    summary, ids = said
    assert isinstance(summary, Summary)
    assert summary.spaces == []
    assert isinstance(ids, MembershipIds)
    assert lost.cluster.membership.digest() == known
    assert value(lost, "later") is None
    for node in nodes:
        node.close()


def _first_admin(founder: LocalNode) -> bytes:
    """Return who of the two admins was made one first, by rank."""
    known = sorted(founder.cluster.membership.log.known.values(), key=lambda one: one.rank)
    grants = [one.entry.grant for one in known if one.entry.grant is not None]
    return next(grant.subject for grant in grants[1:] if grant.role is Role.ADMIN)


async def test_the_recovery_key_removes_the_only_admin_and_lets_another_go_on(tmp_path: Path) -> None:
    recovery = Identity(b"r" * 32)
    founder = LocalNode.create(Home(tmp_path / "founder"), "founder", recovery=recovery.node)
    other = LocalNode.create(Home(tmp_path / "other"), "other")
    async with running(founder) as driver:
        ticket = founder.cluster.invite(founder.store, Role.WRITER, None, 60_000, driver.addresses())
        await join(other, ticket, "other")
    with pytest.raises(Denied):
        await removing(other, founder)
    await asyncio.to_thread(other.revoke, founder.identity.node, (), recovery)
    assert other.cluster.membership.revoked(founder.identity.node)
    await put(other, "key", b"goes on")
    assert value(other, "key") == b"goes on"
    founder.close()
    other.close()


# --- spaces of some members --------------------------------------------------------------------------------------


async def put_in(local: LocalNode, space: SpaceId, key: str, text: bytes) -> None:
    (outcome,) = await asyncio.wrap_future(local.store.write([Write(space, Kind.PUT, Content(key, text))]))
    if isinstance(outcome, Exception):
        raise outcome


def value_in(local: LocalNode, space: SpaceId, key: str) -> bytes | None:
    recalled = local.store.reader.recall(space, key)
    return recalled.latest.content.value if recalled is not None and recalled.latest.content is not None else None


def opened_by(local: LocalNode, body: bytes) -> BulletinContent | None:
    """What a node can read of what it hears, None where it cannot."""
    statement = read_bulletin(body, local.cluster.public)
    try:
        return open_any(statement, local.cluster.readable())[1]
    except Unreadable:
        return None


async def test_a_space_of_two_of_three_nodes_replicates_between_them_and_the_third_holds_nothing_of_it(
    three: list[LocalNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = three
    heard: list[bytes] = []
    async with AsyncExitStack() as stack:
        drivers = await run_all(stack, three)
        take = drivers[2].topics.take

        def overheard(body: bytes) -> Verdict:
            heard.append(body)
            return take(body)

        monkeypatch.setattr(drivers[2].topics, "take", overheard)
        space = await asyncio.to_thread(first.create_space, "plans", [second.identity.node])
        await until(lambda: space in second.cluster.keys.spaces)
        await put_in(first, space, "sea", b"to the north sea")
        await until(lambda: value_in(second, space, "sea") == b"to the north sea")
        await put_in(second, space, "back", b"by train")
        await until(lambda: value_in(first, space, "back") == b"by train")
        await put_in(first, space, "large", b"large " * 15_000)  # more than a bulletin holds
        await until(lambda: value_in(second, space, "large") == b"large " * 15_000)
        await put(third, "later", b"x")
        await until(lambda: value(first, "later") == value(second, "later") == b"x")
        assert second.cluster.space("plans") == space
        assert space not in third.cluster.keys.spaces
        assert space not in third.cluster.shared()
        with third.store.snapshot() as reader:
            rows = reader.connection.execute("SELECT count(*) FROM space WHERE id = ?", (space,)).get
        assert rows == 0
        told = [opened_by(third, body) for body in heard]
        assert None in told  # the sealed changes came through it
        readable = [content for content in told if content is not None]
        assert readable
        assert CHANGES not in {content.topic for content in readable}
        words = (b"north", b"plans", b"sea", b"train")
        assert not any(word in content.payload for content in readable for word in words)
        assert not any(word in body for body in heard for word in words)


async def test_what_was_missed_of_a_space_comes_by_a_session_with_one_that_shares_it(three: list[LocalNode]) -> None:
    first, second, third = three
    space = await asyncio.to_thread(first.create_space, "plans", [second.identity.node])
    await put_in(first, space, "sea", b"north")
    async with running(first) as one, running(second, sync_interval_s=0.2) as two, running(third) as three_:
        two.report(PartingAsked(first.identity.node))
        one.report(PartingAsked(second.identity.node))
        meet(one, three_)
        meet(two, three_)
        await until(lambda: space in second.cluster.keys.spaces and len(three_.links) == 2)
        assert value_in(second, space, "sea") is None
        one.core.dialling.parted.clear()
        two.core.dialling.parted.clear()
        meet(two, one)
        await until(lambda: value_in(second, space, "sea") == b"north")


async def test_taking_a_space_from_a_member_leaves_it_the_rest(three: list[LocalNode]) -> None:
    first, second, _ = three
    async with AsyncExitStack() as stack:
        await run_all(stack, three)
        space = await asyncio.to_thread(first.create_space, "plans", [second.identity.node])
        await until(lambda: space in second.cluster.keys.spaces)
        await removing(first, second, space)
        await until(lambda: space not in second.cluster.shared())
        await put_in(first, space, "sea", b"north")
        with pytest.raises(Denied):
            await put_in(second, space, "sea", b"south")
        await put(second, "still", b"a member")
        await until(lambda: value(first, "still") == b"a member")
        assert first.cluster.keys.spaces[space].current not in second.cluster.keys.spaces[space].epochs


async def test_a_blind_node_converges_in_counts_and_holds_no_key(tmp_path: Path) -> None:
    founder, writer, blind = (LocalNode.create(Home(tmp_path / name), name) for name in ("founder", "writer", "blind"))
    async with running(founder) as driver:
        for node, role in ((writer, Role.WRITER), (blind, Role.BLIND)):
            ticket = founder.cluster.invite(founder.store, role, None, 60_000, driver.addresses())
            await join(node, ticket, node.home.folder.name)
    await put(founder, "one", b"1")
    async with running(founder) as one, running(blind) as store:
        meet(store, one)
        await until(lambda: state(blind) == state(founder))
        await put(founder, "two", b"2")
        await until(lambda: state(blind) == state(founder))
    async with running(writer) as two, running(blind) as store:
        meet(two, store)
        await until(lambda: value(writer, "two") == b"2")
    assert blind.cluster.keys.spaces == {}
    with blind.store.snapshot() as reader, founder.store.snapshot() as other:
        public = founder.cluster.public
        assert reader.vector(public) == other.vector(public)
    for node in (founder, writer, blind):
        node.close()


# --- the access list ---------------------------------------------------------------------------------------------


async def test_a_member_the_access_list_denies_is_parted_with_at_once_and_let_in_again_when_it_may(
    three: list[LocalNode],
) -> None:
    first = three[0]
    async with AsyncExitStack() as stack:
        one, two = await run_all(stack, three[:2])
        first.cluster.acl = Acl(denied=("second",))
        one.judge_again()
        await until(lambda: not one.links and not two.links)
        assert any(meeting.REFUSAL in peer.last_error for peer in two.core.book)
        first.cluster.acl = Acl()
        one.judge_again()
        await until(lambda: one.links and two.links)


async def test_in_quarantine_a_connection_stands_and_nothing_is_exchanged(three: list[LocalNode]) -> None:
    first, second, _ = three
    first.cluster.acl = Acl(mode=Mode.QUARANTINE)
    async with running(first) as one, running(second) as two:
        meet(two, one)
        await until(lambda: one.quarantined() == [second.identity.node])
        await put(second, "key", b"x")
        await until(lambda: two.links)
        await asyncio.gather(*(link.synchronise() for link in two.links.values()))
        assert value(first, "key") is None
        assert not one.links
        first.cluster.acl = Acl()
        one.judge_again()
        await until(lambda: value(first, "key") == b"x")


async def test_live_connections_go_into_quarantine_and_what_is_known_stays(three: list[LocalNode]) -> None:
    first, second, _ = three
    async with AsyncExitStack() as stack:
        one, _ = await run_all(stack, three[:2])
        await put(second, "before", b"x")
        await until(lambda: value(first, "before") == b"x")
        first.cluster.acl = Acl(mode=Mode.QUARANTINE)
        one.judge_again()
        await until(lambda: one.quarantined() == [second.identity.node] and not one.links)
        await put(second, "after", b"y")
        await until(lambda: any(row.what == "quarantined" for row in first.decisions(100)))
        assert value(first, "before") == b"x"
        assert value(first, "after") is None


async def test_a_solitary_node_neither_dials_nor_lets_in(three: list[LocalNode]) -> None:
    first, second, _ = three
    first.cluster.acl = Acl(mode=Mode.SOLITARY)
    async with running(first) as one, running(second) as two:
        meet(two, one)
        await until(lambda: two.problems)
        meet(one, two)
        with pytest.raises(Denied):
            await one.connect(Target(second.identity.node, *two.endpoint.address, "static"))
        assert not one.links
        assert not two.links
