"""Who carries a signal, who may have one carried, and what becomes of those that nobody should read."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest

from cis.errors import Fault, PeerFault, Unavailable
from cis.model import NodeId
from cis.node.home.local import LocalNode
from cis.node.paths import signalling
from cis.node.paths.signalling import Carriers, Signaller
from cis.node.streams.paces import FORWARDS_BURST
from cis.trust.acl import Acl, Mode
from cis.trust.signals import TAG_LENGTH, seal_signal
from cis.wire.membership import Role
from cis.wire.messages import Forward, Forwarded, Taken, decode, encode
from cis.wire.signals import Refuse, Signal, encode_signal
from tests.unit.node.households import household

SIGNAL = Refuse(b"s" * 16, "no reason")


class Pipe:
    """One end of a stream, in memory."""

    def __init__(self, inward: asyncio.Queue[bytes | None], outward: asyncio.Queue[bytes | None]) -> None:
        self._inward, self._outward = inward, outward

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    async def write_frame(self, frame: bytes) -> None:
        self._outward.put_nowait(frame)

    async def read_frame(self, _: int) -> bytes | None:
        return await self._inward.get()

    def finish(self) -> None:
        self._outward.put_nowait(None)


@dataclass
class Member:
    """A node as far as signals go."""

    local: LocalNode
    group: asyncio.TaskGroup
    links: dict[int, Any] = field(default_factory=dict)
    anchors: list[Post] = field(default_factory=list)
    heard: list[tuple[NodeId, Signal]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.carriers = Carriers(self.links, (), self.anchors)
        self.tally = self.carriers.tally
        self.signaller = Signaller(self.local, self.carriers, lambda *one: self.heard.append(one))

    @property
    def id(self) -> NodeId:
        return self.local.identity.node

    def link(self, other: Member) -> SimpleNamespace:
        async def open_stream(_purpose: str) -> Pipe:
            there, back = asyncio.Queue[bytes | None](), asyncio.Queue[bytes | None]()
            self.group.create_task(other.serve(self.id, Pipe(there, back)))
            return Pipe(back, there)

        made = SimpleNamespace(node=other.id, connection=SimpleNamespace(suspect=False, open_stream=open_stream))
        self.links[len(self.links)] = made
        return made

    async def serve(self, teller: NodeId, stream: Pipe) -> None:
        await stream.read_frame(64)  # what it is for
        await self.signaller.serve(teller, stream)


@dataclass
class Post:
    """An anchor that hands everything to one node."""

    to: Signaller | None = None
    name: str = "anchor"
    up: bool = True
    posted: int = 0
    doubted: int = 0
    hangs: bool = False

    def renew(self) -> None:
        pass

    def doubt(self) -> None:
        self.doubted += 1

    async def post(self, tag: bytes, sealed: bytes) -> bool:
        assert len(tag) == TAG_LENGTH
        self.posted += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.to is not None:
            self.to.take_posted(sealed)
        return self.to is not None


@pytest.fixture
async def trio(tmp_path: Path) -> AsyncIterator[tuple[Member, Member, Member]]:
    nodes = household(tmp_path, ("left", Role.WRITER), ("right", Role.BLIND))
    async with asyncio.TaskGroup() as group:
        common, left, right = (Member(local, group) for local in nodes)
        yield common, left, right
    for local in nodes:
        local.close()


def joined(one: Member, other: Member) -> None:
    one.link(other)
    other.link(one)


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_signal_goes_by_the_connection_there_is(trio: tuple[Member, Member, Member]) -> None:
    common, left, right = trio
    joined(left, right)
    joined(left, common)
    joined(right, common)
    await left.signaller.send(right.id, SIGNAL)
    await settled()
    assert right.heard == [(left.id, SIGNAL)]
    assert common.tally["forwards"] == 0


async def test_a_signal_goes_by_a_member_both_are_connected_to(trio: tuple[Member, Member, Member]) -> None:
    common, left, right = trio
    joined(left, common)
    joined(right, common)
    assert left.signaller.possible(right.id)
    await left.signaller.send(right.id, SIGNAL)
    await right.signaller.send(left.id, SIGNAL)
    await settled()
    assert (right.heard, left.heard, common.heard) == ([(left.id, SIGNAL)], [(right.id, SIGNAL)], [])


async def test_a_silent_connection_carries_nothing(trio: tuple[Member, Member, Member]) -> None:
    common, left, right = trio
    left.link(right).connection.suspect = True
    joined(left, common)
    joined(right, common)
    await left.signaller.send(right.id, SIGNAL)
    await settled()
    assert common.tally["forwards"] == 1


async def test_an_answer_goes_the_way_the_question_came_as_the_connection_there_is_may_be_dead(
    trio: tuple[Member, Member, Member],
) -> None:
    common, left, right = trio
    joined(left, common)
    joined(right, common)
    await left.signaller.send(right.id, SIGNAL)
    await settled()
    joined(right, left)
    await right.signaller.send(left.id, SIGNAL)
    await settled()
    assert common.tally["forwards"] == 2
    post = Post(left.signaller)
    right.anchors.append(post)
    right.signaller.take_posted(left.signaller._seal(right.id, SIGNAL))
    await right.signaller.send(left.id, SIGNAL)
    assert post.posted == 1


async def test_an_anchor_carries_what_no_member_can_and_the_tag_names_the_sender(
    trio: tuple[Member, Member, Member],
) -> None:
    common, left, right = trio
    left.anchors.append(Post(right.signaller))
    joined(left, common)
    await left.signaller.send(right.id, SIGNAL)
    assert right.heard == [(left.id, SIGNAL)]


async def test_an_anchor_that_hangs_is_doubted_and_the_next_one_asked(
    trio: tuple[Member, Member, Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signalling, "POST_S", 0.01)
    _, left, right = trio
    dead, alive = Post(hangs=True), Post(right.signaller)
    left.anchors += [dead, alive]
    async with asyncio.timeout(2.0):
        await left.signaller.send(right.id, SIGNAL)
    assert right.heard == [(left.id, SIGNAL)]
    assert (dead.doubted, alive.doubted) == (1, 0)


async def test_who_was_asked_in_vain_is_said(trio: tuple[Member, Member, Member]) -> None:
    common, left, right = trio
    left.anchors.append(Post(up=False))
    with pytest.raises(Unavailable, match="the anchor anchor does not serve"):
        await left.signaller.send(right.id, SIGNAL)
    assert not left.signaller.possible(right.id)
    joined(left, common)
    with pytest.raises(Unavailable, match="founder has no connection with it"):
        await left.signaller.send(right.id, SIGNAL)


async def test_a_signal_is_read_once_however_often_it_comes(trio: tuple[Member, Member, Member]) -> None:
    common, left, right = trio
    post = Post(right.signaller)
    left.anchors.append(post)
    await left.signaller.send(right.id, SIGNAL)
    sealed = left.signaller._seal(right.id, SIGNAL)
    for _ in range(3):
        right.signaller.take_posted(sealed)
    assert len(right.heard) == 2
    assert right.tally["signals_repeated"] == 2
    del common


async def test_nothing_is_passed_on_but_between_members_and_to_those_linked(
    trio: tuple[Member, Member, Member],
) -> None:
    common, left, right = trio
    joined(left, common)
    stranger = NodeId(b"x" * 32)
    assert await taken(common, left.id, right.id) is False  # no link
    assert await taken(common, left.id, stranger) is False
    joined(common, right)
    assert await taken(common, stranger, right.id) is False
    assert await taken(common, left.id, right.id) is True
    assert common.tally["forwards_to_nobody"] == 3


async def test_who_takes_nothing_holds_up_no_carrier(
    trio: tuple[Member, Member, Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member that gives no room for streams would else hold one of the teller's for as long as it is connected."""
    monkeypatch.setattr(signalling, "CARRY_S", 0.01)
    common, left, right = trio
    never = asyncio.Event()
    common.link(right).connection.open_stream = lambda _purpose: never.wait()
    async with asyncio.timeout(2.0):
        assert await taken(common, left.id, right.id) is False


async def taken(carrier: Member, teller: NodeId, to: NodeId, sealed: bytes = bytes(64)) -> bool:
    inward, outward = asyncio.Queue[bytes | None](), asyncio.Queue[bytes | None]()
    inward.put_nowait(encode(Forward(to, sealed)))
    await carrier.signaller.serve(teller, Pipe(inward, outward))
    answer = decode(outward.get_nowait() or b"")
    assert isinstance(answer, Taken)
    return answer.taken


async def test_who_has_too_much_carried_is_not_served_for_a_while_and_others_are(
    trio: tuple[Member, Member, Member],
) -> None:
    common, left, right = trio
    common.link(right)
    common.link(left)
    answers = [await taken(common, left.id, right.id) for _ in range(int(FORWARDS_BURST) + 20)]
    assert answers.count(False) >= 15
    assert common.tally["forwards_over_pace"] == answers.count(False)
    assert await taken(common, right.id, left.id) is True


async def test_garbage_in_the_name_of_others_blames_nobody_and_is_counted(trio: tuple[Member, Member, Member]) -> None:
    common, left, right = trio
    for sender in (left.id, right.id, NodeId(b"x" * 32)):
        inward = asyncio.Queue[bytes | None]()
        inward.put_nowait(encode(Forwarded(sender, os.urandom(100))))
        await right.signaller.serve(common.id, Pipe(inward, inward))
    right.signaller.take_posted(b"")
    right.signaller.take_posted(os.urandom(100))
    assert right.heard == []
    assert right.tally["signals_unreadable"] == 1
    assert right.tally["signals_of_strangers"] == 4


async def test_a_stream_for_signals_that_carries_something_else_is_a_fault_of_its_sender(
    trio: tuple[Member, Member, Member],
) -> None:
    inward = asyncio.Queue[bytes | None]()
    inward.put_nowait(encode(Taken(taken=True)))
    with pytest.raises(PeerFault) as fault:
        await trio[0].signaller.serve(trio[1].id, Pipe(inward, inward))
    assert fault.value.fault is Fault.MALFORMED


async def test_signals_of_a_member_the_access_list_refuses_are_not_read(trio: tuple[Member, Member, Member]) -> None:
    common, left, right = trio
    right.local.cluster.acl = Acl(mode=Mode.SOLITARY)
    left.anchors.append(Post(right.signaller))
    await left.signaller.send(right.id, SIGNAL)
    assert right.heard == []
    assert not right.signaller.possible(left.id)
    del common


async def test_a_signal_a_member_sealed_for_another_is_not_read_as_its_own(
    trio: tuple[Member, Member, Member],
) -> None:
    common, left, right = trio
    member = right.local.cluster.membership.member(left.id)
    assert member is not None
    shared = right.local.cluster.pairwise_key(member)
    assert shared is not None
    turned = seal_signal(shared, right.id, left.id, bytes(16), encode_signal(SIGNAL), os.urandom)
    right.signaller._take(left.id, turned, common.id)
    assert right.heard == []
