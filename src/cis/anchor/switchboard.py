"""What an anchor does with each message: a machine without sockets, over a shelf of records and the rooms.

A `Party` is one connection. Whatever is sent to it goes into its outbox, which is bounded: a post that does not fit is
as if nobody listened, and what is said in a room waits (`crowded`) until there is place. ::

    party = switchboard.connect(host, authority, now)
    switchboard.take(party, data, now)        # party.outbox, and others', hold what follows
    switchboard.leave(party)
"""

from __future__ import annotations

import hmac
import logging
from collections import Counter, deque
from collections.abc import Callable, Collection
from hashlib import blake2b

from cis.anchor.limits import AddressRates, AnchorLimits, address_of
from cis.anchor.protocol import (
    VERSION,
    Claim,
    Done,
    Entered,
    EnterRoom,
    Found,
    Hello,
    LeaveRoom,
    Left,
    LookUp,
    NumberTaken,
    OpenRoom,
    Post,
    Posted,
    Refused,
    Register,
    Release,
    Request,
    Said,
    Say,
    ToNode,
    Welcome,
    decode_to_anchor,
    encode,
)
from cis.anchor.rooms import Room, Rooms
from cis.anchor.shelf import Shelf
from cis.errors import Denied, PeerFault, StoreError
from cis.trust.beacons import claim_holds, tag_of_key
from cis.trust.identity import Entropy

_log = logging.getLogger(__name__)

TOO_FAST = "too many requests from this address: try again in a minute"


class Party:
    """One connection; ``ending`` says why it is to be closed, once what is in the outbox has been sent.

    ``waiting`` counts the bytes that wait in all outboxes.
    """

    def __init__(
        self, address: str, authority: bytes, challenge: bytes, limits: AnchorLimits, waiting: Waiting
    ) -> None:
        self.address = address
        self.authority = authority
        self.challenge = challenge
        self.greeted = False
        self.claimed: dict[bytes, None] = {}
        self.room: Room[Party] | None = None
        self.ending: str | None = None
        self.on_change: Callable[[], None] = _nothing
        self.on_place: list[Callable[[], None]] = []
        """Called once, when it is no more crowded, or has ended."""
        self._outbox: deque[bytes] = deque()
        self._leaving = self._bytes = 0
        self._limits = limits
        self._waiting = waiting

    @property
    def crowded(self) -> bool:
        """Whether as much waits to be sent to it as may: any at all, where too much waits on all connections."""
        return self._bytes >= (1 if self._waiting.bytes >= self._limits.queues_bytes_max else self._limits.queue_bytes)

    def send(self, message: ToNode) -> None:
        """Have a message sent."""
        self._put(encode(message))
        self.on_change()

    def end(self, why: str) -> None:
        """Have the connection closed; the first reason counts."""
        if self.ending is None:
            self.ending = why
            self._put(encode(Refused(0, why[:200])))
            self.on_change()

    def next(self) -> bytes | None:
        """Return what is to be sent next, if anything; what was returned before has been sent by then."""
        self._count(-self._leaving)
        data = self._outbox.popleft() if self._outbox else None
        self._leaving = len(data or b"")
        return data

    def drop(self) -> None:
        """Forget what waits."""
        self._outbox.clear()
        self._count(-self._bytes)
        self._leaving = 0

    def _put(self, data: bytes) -> None:
        self._outbox.append(data)
        self._count(len(data))

    def _count(self, size: int) -> None:
        self._bytes += size
        self._waiting.bytes += size
        if not self.crowded:
            placed, self.on_place = self.on_place, []
            for tell in placed:
                tell()


class Waiting:
    """The bytes that wait to be sent, on all connections."""

    def __init__(self) -> None:
        self.bytes = 0


class Switchboard:
    """All connections of an anchor; ``tokens`` are those that let a node in, none where all are let in."""

    def __init__(
        self,
        shelf: Shelf,
        limits: AnchorLimits,
        tokens: Collection[str],
        entropy: Entropy,
        *,
        stun_port: int = 0,
    ) -> None:
        self.shelf = shelf
        self.limits = limits
        self.rooms: Rooms[Party] = Rooms(limits.rooms_max, limits.rooms_per_address, limits.room_bytes_max)
        self.rates = AddressRates(limits)
        self.counts: Counter[str] = Counter()
        self.stun_port = stun_port
        self.waiting = Waiting()
        self._tokens = [token.encode() for token in tokens]
        self._entropy = entropy
        self._owner_key = entropy(32)
        self._connected: Counter[str] = Counter()
        self._listeners: dict[bytes, dict[Party, None]] = {}

    @property
    def connections(self) -> int:
        """How many there are."""
        return self._connected.total()

    def token_problem(self, token: str, address: str, now: float) -> str | None:
        """Return why a token from there lets nobody in, if so; wrong ones are counted, and guessing is cut short."""
        if self.rates.is_spent("tokens", address, now):
            return "too many wrong tokens from this address: try again in a minute"
        if any(hmac.compare_digest(token.encode(), one) for one in self._tokens):
            return None
        self.rates.take("tokens", address, 1, now)
        return "it wants an access token, and this is none of its own (p2p.cloud_anchor.token)"

    def connect(self, host: str, authority: str, now: float) -> Party:
        """Let a connection in from an address, made to this name of the anchor; `Denied` where there are too many."""
        address = address_of(host)
        if self.connections >= self.limits.connections_max:
            raise Denied("as many nodes are connected as this anchor serves")
        if self._connected[address] >= self.limits.connections_per_address:
            raise Denied("as many nodes are connected from this address as may be")
        if not self.rates.take("connects", address, 1, now):
            raise Denied(TOO_FAST)
        self._connected[address] += 1
        self.counts["connects"] += 1
        return Party(address, authority.lower().encode(), self._entropy(32), self.limits, self.waiting)

    def leave(self, party: Party) -> None:
        """Forget a connection; what it registered stays until it expires."""
        self._connected -= Counter({party.address: 1})
        for tag in list(party.claimed):
            self._unlisten(party, tag)
        if party.room is not None:
            self._close(party.room)
        party.drop()

    def take(self, party: Party, data: bytes, now: float, wall: float) -> None:
        """Do what a message asks; one that is none ends the connection. ``wall`` is Unix time."""
        try:
            message = decode_to_anchor(data)
        except PeerFault as fault:
            self.counts["malformed"] += 1
            party.end(fault.detail)
            return
        self.counts[type(message).__name__] += 1
        if isinstance(message, Hello) or not party.greeted:
            self._greet(party, message, now)
        elif isinstance(message, Say):
            self._say(party, message, now)
        elif not self.rates.take("requests", party.address, 1, now):
            party.end(TOO_FAST)
        else:
            try:
                party.send(self._answer(party, message, now, wall))
            except Denied as denied:
                self.counts["refused"] += 1
                party.send(Refused(message.number, str(denied), isinstance(denied, NumberTaken)))
            except StoreError:
                _log.exception("a request could not be carried out")
                party.send(Refused(message.number, "this anchor cannot keep or find records now"))

    def tick(self, now: float, wall: float) -> None:
        """End rooms whose time is up, and drop records that have expired."""
        for room in self.rooms.over(now):
            self._close(room)
        self.shelf.expire(wall)

    # --- requests ----------------------------------------------------------------------------------------------------

    def _greet(self, party: Party, message: object, now: float) -> None:
        if not isinstance(message, Hello) or party.greeted:
            party.end("a connection begins with one hello")
            return
        if message.version != VERSION:
            party.end(f"this anchor speaks version {VERSION}")
            return
        if self._tokens and (problem := self.token_problem(message.token, party.address, now)) is not None:
            party.end(problem)
            return
        party.greeted = True
        party.send(Welcome(party.challenge, self.stun_port))

    def _answer(self, party: Party, request: Request, now: float, wall: float) -> ToNode:
        number = request.number
        match request:
            case Claim(_, key, signature):
                self._claim(party, key, signature)
            case Release(_, tag):
                self._unlisten(party, tag)
            case Register(_, tag, ttl_s, sealed):
                self._register(party, tag, sealed, wall + ttl_s)
            case LookUp(_, tags):
                return self._look_up(party, number, tags, now, wall)
            case Post(_, tag, sealed):
                return Done(number, heard=self._post(party, tag, sealed, now))
            case OpenRoom(_, room, life_s):
                self._may_room(party, now)
                party.room = self.rooms.open(room, party, party.address, now + life_s)
            case EnterRoom(_, room):
                self._may_room(party, now)
                party.room = self.rooms.enter(room, party, now)
                party.room.opened_by.send(Entered())
            case LeaveRoom(_):
                if party.room is not None:
                    self._close(party.room)
        return Done(number)

    def _claim(self, party: Party, key: bytes, signature: bytes) -> None:
        tag = tag_of_key(key)
        if len(party.claimed) >= self.limits.claims_per_connection and tag not in party.claimed:
            raise Denied("as many tags are claimed as one connection may")
        if not claim_holds(key, party.challenge, party.authority, signature):
            raise Denied("the claim was not made by whom that tag belongs to, or for an anchor of another name")
        party.claimed[tag] = None
        self._listeners.setdefault(tag, {})[party] = None

    def _unlisten(self, party: Party, tag: bytes) -> None:
        party.claimed.pop(tag, None)
        listeners = self._listeners.get(tag, {})
        listeners.pop(party, None)
        if not listeners:
            self._listeners.pop(tag, None)

    def _register(self, party: Party, tag: bytes, sealed: bytes, expires: float) -> None:
        limits, shelf = self.limits, self.shelf
        if tag not in party.claimed:
            raise Denied("that tag was not claimed on this connection")
        owner = blake2b(party.address.encode(), key=self._owner_key, digest_size=16).hexdigest()
        if not shelf.holds(tag):
            if shelf.owned(owner) >= limits.records_per_address:
                raise Denied("this address has as many records as it may")
            if shelf.count >= limits.records_max:
                raise Denied("there are as many records as this anchor keeps")
        if shelf.bytes + len(sealed) > limits.records_bytes_max:
            raise Denied("the records take as much room as this anchor has")
        shelf.put(tag, sealed, expires, owner)

    def _look_up(self, party: Party, number: int, tags: tuple[bytes, ...], now: float, wall: float) -> Found:
        if not self.rates.take("tags", party.address, len(tags), now):
            raise Denied(TOO_FAST)
        if self.waiting.bytes >= self.limits.queues_bytes_max:
            raise Denied("this anchor has too much to do: try again in a minute")
        there = [(tag, self.shelf.get(tag, wall)) for tag in tags]
        return Found(number, tuple((tag, sealed) for tag, sealed in there if sealed is not None))

    def _post(self, party: Party, tag: bytes, sealed: bytes, now: float) -> bool:
        rates = self.rates
        if not (
            rates.take("posts", party.address, 1, now) and rates.take("post_bytes", party.address, len(sealed), now)
        ):
            raise Denied(TOO_FAST)
        heard = False
        for listener in self._listeners.get(tag, {}):
            if not listener.crowded:
                listener.send(Posted(tag, sealed))
                heard = True
        self.counts["posts_heard"] += heard
        return heard

    # --- rooms -------------------------------------------------------------------------------------------------------

    def _may_room(self, party: Party, now: float) -> None:
        if party.room is not None:
            raise Denied("a connection is in one room at a time")
        if not self.rates.take("rooms", party.address, 1, now):
            raise Denied("too many pairings from this address: try again in some minutes")

    def _say(self, party: Party, message: Say, now: float) -> None:
        """Pass on what is said; where nobody is there any more it is lost, as the sender is about to learn."""
        room = party.room
        other = room.facing(party) if room is not None else None
        if room is None or other is None:
            if not self.rates.take("requests", party.address, 1, now):
                party.end(TOO_FAST)
            return
        if self.rooms.carry(room, len(message.chunk)):
            other.send(Said(message.chunk))
        else:
            self._close(room)

    def _close(self, room: Room[Party]) -> None:
        self.rooms.close(room)
        for party in (room.opened_by, room.other):
            if party is not None and party.room is room:
                party.room = None
                party.send(Left())


def _nothing() -> None:
    """Nobody waits."""
