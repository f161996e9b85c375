"""State machines that take what a peer says, from a stranger's and from a member's mouth."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import cache, lru_cache
from random import Random
from typing import Any, get_args
from unittest import mock

import msgspec

from cis.errors import PeerFault
from cis.gossip import Gossip
from cis.gossip.language import (
    Deliver,
    DialFailed,
    Examined,
    GossipEffect,
    GossipEvent,
    Heard,
    Linked,
    Received,
    Removed,
    SetTimer,
    TimerExpired,
    Unlinked,
)
from cis.model import NodeId, ReplicaId, SpaceId, VersionVector
from cis.sync.floors import Standing
from cis.sync.session import Effect, Fetch, Merge, Send, SendFrame, Session
from cis.trust import agreement
from cis.trust.agreement import Agreement
from cis.trust.handshake import Authenticated
from cis.trust.identity import Entropy, Label
from cis.trust.pairing import Agreed, Offered
from cis.wire.gossip import GossipMessage
from cis.wire.handshake import decode_answer, decode_proof, encode_frame
from cis.wire.messages import Message, decode, encode, is_segment
from cis.wire.pairing import Claim, Sealed, encode_pairing
from fuzz.target import Step, Target, chosen, script, steps_in
from fuzz.targets.trust import cluster
from fuzz.targets.wire import golden
from tests.unit.sync.driver import Log
from tests.unit.sync.test_audit import End, inventory, item
from tests.unit.trust.cluster import Meeting, entropy, identity, meeting
from tests.unit.trust.test_pairing import Exchange, claim, exchange

BOB = identity(2)
SPACE = SpaceId(b"S" * 16)
REPLICAS = tuple(ReplicaId(one * 40) for one in (b"1", b"2", b"3"))
NODES = tuple(NodeId(bytes([number]) * 32) for number in range(1, 9))
GOSSIPS = get_args(GossipMessage)
ACTIVE_MAX, PASSIVE_MAX = 6, 30
_HONEST, _ALTERED, _INSIDE = 0, 1, 2


def handshakes(data: bytes) -> None:
    """Frame for frame an honest one, another, or one that a member signed: nobody is taken for somebody else."""
    steps = steps_in(data)
    met = meeting(cluster(), BOB, cluster().ana)

    def alter(at: int, frame: bytes) -> bytes:
        how, given = steps[at] if at < len(steps) else (_HONEST, b"")
        match how % 3:
            case 0:
                return frame
            case 1:
                return given
        return _signed(met, at, given)

    for step, other in zip(met.run(alter), (cluster().ana, BOB), strict=True):
        if isinstance(step.outcome, Authenticated):
            assert step.outcome.node == other.node


def _signed(met: Meeting, at: int, given: bytes) -> bytes:
    """Return a frame as a member would send it that wants to do harm: what it states is signed by it."""
    ana = cluster().ana
    with suppress(PeerFault):
        if at == 1:
            answer, before = decode_answer(given), met.dialler._transcript.digest()
            signature = ana.sign(Label.LISTENER, cluster().log.cluster + before)
            return encode_frame(msgspec.structs.replace(answer, node=ana.node, signature=signature))
        if at == 2:
            proof, before = decode_proof(given), met.listener._transcript.digest()
            signature = BOB.sign(Label.DIALLER, cluster().log.cluster + before)
            return encode_frame(msgspec.structs.replace(proof, node=BOB.node, signature=signature))
    return given


def pairings(data: bytes) -> None:
    """The same for the exchange that a code begins, where the other side knows the code."""
    steps = steps_in(data)
    met = _exchange(claim(1, movable=not steps or not steps[0][0] & 4))

    def alter(at: int, frame: bytes) -> bytes:
        how, given = steps[at] if at < len(steps) else (_HONEST, b"")
        match how % 4 % 3:
            case 0:
                return frame
            case 1:
                return given
        return _sealed(met, at, given) if at > 1 else given

    for outcome, other in zip(met.run(alter), (claim(2), claim(1)), strict=True):
        if isinstance(outcome, Agreed | Offered) and all(how % 4 % 3 != _INSIDE for how, _ in steps):
            assert outcome.peer.node == other.node


class _Remembered:
    """SPAKE2 takes milliseconds, and most inputs hold the elements of an honest exchange: what is the same is kept."""

    def __init__(self, secret: bytes, *, taking: bool, entropy: Entropy) -> None:  # noqa: ARG002 - its own repeats
        self._own = secret, taking
        self.element = _element(*self._own)

    def key(self, element: bytes) -> bytes:
        return _key(*self._own, element)


def _agreement(secret: bytes, taking: bool) -> Agreement:  # noqa: FBT001 - part of a key
    return Agreement(secret, taking=taking, entropy=entropy(60 + taking))


@lru_cache(maxsize=16)
def _element(secret: bytes, taking: bool) -> bytes:  # noqa: FBT001 - as above
    return _agreement(secret, taking).element


@lru_cache(maxsize=1024)
def _key(secret: bytes, taking: bool, element: bytes) -> bytes:  # noqa: FBT001 - as above
    return _agreement(secret, taking).key(element)


def _exchange(taker: Claim) -> Exchange:
    with mock.patch.object(agreement, "Agreement", _Remembered):
        return exchange(taker)


def _sealed(met: Exchange, at: int, plain: bytes) -> bytes:
    sender, receiver = (met.taker, met.shower) if at % 2 == 0 else (met.shower, met.taker)
    return encode_pairing(Sealed(receiver._cipher(sender.side).encrypt(bytes(12), plain[:900], None)))


def gossips(data: bytes) -> None:
    """Neighbours and strangers in any order, timers when they will: views and memory keep their bounds."""
    gossip = Gossip(NODES[0], lambda: b"record", Random(1))
    timers: list[SetTimer] = []
    delivered: list[Deliver] = []
    now = 0.0

    def take(event: GossipEvent) -> None:
        for effect in gossip.handle(event, now):
            _note(effect, timers, delivered)

    for node in NODES[1:5]:
        take(Linked(node, dialled=True))
    for number, frame in steps_in(data):
        now += (number >> 8) % 64 / 4
        node = chosen(NODES[1:], number)
        for event in _events(number >> 3, node, frame, timers, delivered):
            take(event)
        figures = gossip.statistics()
        assert figures.active <= ACTIVE_MAX
        assert figures.passive <= PASSIVE_MAX


def _note(effect: GossipEffect, timers: list[SetTimer], delivered: list[Deliver]) -> None:
    if isinstance(effect, SetTimer):
        timers.append(effect)
    elif isinstance(effect, Deliver):
        delivered.append(effect)


def _events(
    number: int, node: NodeId, frame: bytes, timers: list[SetTimer], delivered: list[Deliver]
) -> Iterable[GossipEvent]:
    match number % 8:
        case 0:
            yield Linked(node, dialled=bool(number & 8))
        case 1:
            ends: tuple[GossipEvent, ...] = (Unlinked(node), DialFailed(node), Removed(node), Heard(node, frame))
            yield chosen(ends, number >> 3)
        case 2 if timers:
            yield TimerExpired(timers.pop(number % len(timers)).timer)
        case 3 if delivered:
            yield Examined(delivered.pop(0).id, sound=bool(number & 8))
        case _:
            with suppress(PeerFault):
                message: Any = decode(frame)
                if isinstance(message, GOSSIPS):
                    yield Received(node, message)


def syncs(data: bytes) -> None:
    """A session with a peer that says what it likes: it ends with a fault, or goes on within its window."""
    vector = VersionVector({REPLICAS[0]: 9, REPLICAS[1]: 3}, {REPLICAS[2]: ((2, 4),)})
    session = Session({SPACE: Standing(vector)}, Log([b"one", b"two"]), own=REPLICAS[0])
    with suppress(PeerFault):
        _perform(session, session.start())
        for _, frame in steps_in(data):
            if is_segment(frame):
                _perform(session, session.receive_segment(len(frame)))
            else:
                _perform(session, session.receive(decode(frame)))


def _perform(session: Session, effects: list[Effect]) -> None:
    """Answer what a session asks, the committed at once; each answer may ask more."""
    for _ in range(1000):
        further: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Merge):
                further += session.merged(effect.size, 1)
            elif isinstance(effect, Fetch):
                further += session.fetched(effect, b"segment", effect.last)
        if not further:
            return
        effects = further
    raise AssertionError("a session that asks for ever")


def audits(data: bytes) -> None:
    """Either end of an audit, whatever the other says."""
    steps = steps_in(data)
    held = inventory({REPLICAS[0]: 9, REPLICAS[1]: 3}, *_items())
    end = End(held, initiator=not steps or not steps[0][0] & 1)
    with suppress(PeerFault):
        end.start()
        for _, frame in steps:
            if end.audit.finished:
                return
            if is_segment(frame):
                end.perform(end.audit.receive_segment())
            else:
                end.perform(end.audit.receive(decode(frame)))


@cache
def _items() -> list[bytes]:
    return [item(f"memory {number}", REPLICAS[number % 2], 1 + number % 3) for number in range(40)]


def _handshake_seeds() -> Iterable[bytes]:
    honest = meeting(cluster(), BOB, cluster().ana)
    honest.run()
    for how in (_HONEST, _ALTERED, _INSIDE):
        yield script(*((how if at else _ALTERED, frame) for at, frame in enumerate(honest.frames)))


def _pairing_seeds() -> Iterable[bytes]:
    honest = _exchange(claim(1))
    honest.run()
    yield script(*((_ALTERED, frame) for frame in honest.frames))
    for sealed in golden("cis.wire.pairing"):
        yield script((0, b""), (0, b""), (_INSIDE, sealed), (0, b""))
        yield script((4, b""), (0, b""), (0, b""), (_INSIDE, sealed))


def _gossip_seeds() -> Iterable[bytes]:
    frames = golden("cis.wire.gossip")
    yield from (script((4 << 3, frame), (2 << 3, b""), (3 << 3, b"")) for frame in frames)
    yield script(*((number << 3 | number % 7, frame) for number, frame in enumerate(frames)))


def _conversation(one: End, two: End) -> list[Step]:
    """Return what the second hears of the first."""
    heard: list[Step] = []
    one.start()
    two.start()
    while one.outbox or two.outbox:
        for source, target in ((one, two), (two, one)):
            if source.outbox:
                said: Message | bytes = source.outbox.pop(0)
                if source is one:
                    heard.append((0, said if isinstance(said, bytes) else encode(said)))
                target.take(said)
    return heard


def _audit_seeds() -> Iterable[bytes]:
    lost = item("lost", REPLICAS[0], 7)
    for initiator in (True, False):
        held = inventory({REPLICAS[0]: 9, REPLICAS[1]: 3}, *_items())
        other = inventory({REPLICAS[0]: 9, REPLICAS[1]: 5}, *_items()[3:], lost)
        heard = _conversation(End(other, initiator=not initiator), End(held, initiator=initiator))
        yield script(*((0 if initiator else 1, frame) for _, frame in heard))


def _sync_seeds() -> Iterable[bytes]:
    ends = (
        Session({SPACE: Standing(VersionVector({REPLICAS[0]: 4, REPLICAS[1]: 8}))}, Log([b"three"]), own=REPLICAS[1]),
        Session({SPACE: Standing(VersionVector({REPLICAS[0]: 9}))}, Log([b"one"]), own=REPLICAS[0]),
    )
    said: list[Step] = []
    waiting = [(end, effect) for end in (0, 1) for effect in ends[end].start()]
    while waiting:
        end, effect = waiting.pop(0)
        own, other = ends[end], 1 - end
        match effect:
            case Send(message):
                if end == 0:
                    said.append((0, encode(message)))
                waiting += [(other, one) for one in ends[other].receive(message)]
            case SendFrame(frame):
                waiting += [(other, one) for one in ends[other].receive_segment(len(frame))]
            case Fetch(last=last):
                waiting += [(end, one) for one in own.fetched(effect, b"segment", last)]
            case Merge(size):
                waiting += [(end, one) for one in own.merged(size, 1)]
    yield script(*said)
    yield script(*((0, frame) for frame in golden("cis.wire.messages")))


TARGETS = (
    Target("machines.handshakes", handshakes, _handshake_seeds),
    Target("machines.pairings", pairings, _pairing_seeds),
    Target("machines.gossips", gossips, _gossip_seeds, bytes_max=8192),
    Target("machines.syncs", syncs, _sync_seeds, bytes_max=8192),
    Target("machines.audits", audits, _audit_seeds, bytes_max=8192),
)
