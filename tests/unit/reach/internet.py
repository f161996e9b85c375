"""An internet in memory: hosts behind NATs (RFC 4787's mapping and filtering), relays, delay and loss.

Enough for ICE to run on: endpoints that only know STUN, and a gatherer with the candidates the world gives.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from cis.net.paths import unmapped
from cis.net.qh3_core import RawAddress
from cis.reach.candidates import numbered
from cis.reach.hub import IceHub
from cis.reach.names import Address
from cis.reach.session import IceSession
from cis.wire.signals import CandidateKind, IceCandidate

Receive = Callable[[bytes, Address], None]
NATS = ("none", "full cone", "address-restricted", "port-restricted", "symmetric")


class Internet:
    """Carries datagrams between public addresses."""

    def __init__(self, delay_s: float = 0.004, loss: float = 0.0, seed: int = 1) -> None:
        self.delay_s = delay_s
        self.loss = loss
        self.sent = 0
        self._chance = random.Random(seed)
        self._at: dict[Address, Receive] = {}
        self._hosts = 0
        self._loop = asyncio.get_running_loop()

    def new_host(self) -> str:
        self._hosts += 1
        return f"198.51.100.{self._hosts}"

    def attach(self, address: Address, receive: Receive) -> None:
        self._at[address] = receive

    def send(self, data: bytes, source: Address, target: Address) -> None:
        self.sent += 1
        if self._chance.random() < self.loss:
            return
        delay_s = self.delay_s * self._chance.uniform(0.8, 1.6)
        self._loop.call_later(delay_s, self._arrive, data, source, target)

    def _arrive(self, data: bytes, source: Address, target: Address) -> None:
        if receive := self._at.get(target):
            receive(data, source)


class Nat:
    """One router with one host behind it."""

    def __init__(self, internet: Internet, kind: str) -> None:
        self.kind = kind
        self.host = internet.new_host()
        self._internet = internet
        self._ports: dict[Address | None, int] = {}
        self._allowed: dict[int, set[Address | str]] = {}

    def outside(self, target: Address, inside: Receive) -> Address:
        """The public address a datagram to ``target`` leaves from."""
        key = target if self.kind == "symmetric" else None
        if key not in self._ports:
            port = self._ports[key] = 20000 + len(self._ports)
            self._internet.attach((self.host, port), lambda data, source: self._filter(port, data, source, inside))
        self._allowed.setdefault(self._ports[key], set()).update((target, target[0]))
        return self.host, self._ports[key]

    def _filter(self, port: int, data: bytes, source: Address, inside: Receive) -> None:
        needed = {"full cone": None, "address-restricted": source[0]}.get(self.kind, source)
        if needed is None or needed in self._allowed[port]:
            inside(data, source)


@dataclass
class Socket:
    """A carrier: the socket of a host, or the relayed address of a server."""

    send_one: Callable[[bytes, Address], None]
    relayed: bool = False
    congested: bool = False
    broken: OSError | None = None

    def __hash__(self) -> int:
        return id(self)

    def send(self, datagrams: list[bytes], address: RawAddress) -> OSError | None:
        if self.broken is None:
            for data in datagrams:
                self.send_one(data, unmapped(address))
        return self.broken

    def when_writable(self, callback: Callable[[], None]) -> None:
        callback()


@dataclass
class Host:
    """Endpoint and gatherer in one: what a session needs of a node."""

    internet: Internet
    kind: str = "none"
    has_relay: bool = False
    blocked: bool = False
    """Its network lets no UDP out; the relay is reached by other means."""
    on_change: list[Callable[[], None]] = field(default_factory=list)
    on_stun: Callable[[bytes, RawAddress, Socket], None] | None = None
    malformed: int = 0

    def __post_init__(self) -> None:
        self.own = f"10.0.{self.internet._hosts}.2", 7677
        self.nat = None if self.kind == "none" else Nat(self.internet, self.kind)
        if self.nat is None:
            self.own = self.internet.new_host(), 7677
            self.internet.attach(self.own, self._on_datagram)
        self.address = self.own
        self.carrier = Socket(self._send)
        self.relay = self._allocate() if self.has_relay else None
        self.found: list[tuple[CandidateKind, Address]] = [("host", self.own)]
        if self.nat is not None and not self.blocked:
            self.found.append(("srflx", self.nat.outside(("203.0.113.1", 3478), self._on_datagram)))
        if self.relay is not None:
            self.found.append(("relay", self.relay_address))
        self.hub = IceHub(self)

    def candidates(self) -> tuple[IceCandidate, ...]:
        return numbered(self.found)

    def freshen(self) -> None:
        """Everything here is fresh."""

    def session(self, controlling: bool, relay_hold_s: float | None = 0.3) -> IceSession:
        return IceSession(self.hub, self, controlling=controlling, relay_hold_s=relay_hold_s)

    def _send(self, data: bytes, target: Address) -> None:
        if self.blocked:
            return
        source = self.own if self.nat is None else self.nat.outside(target, self._on_datagram)
        self.internet.send(data, source, target)

    def _on_datagram(self, data: bytes, source: Address) -> None:
        self._hand_over(data, source, self.carrier)

    def _allocate(self) -> Socket:
        """An address on a server that lets in whom this host has sent something (RFC 8656 §9)."""
        self.relay_address = self.internet.new_host(), 40000
        permitted: set[str] = set()

        def send(data: bytes, target: Address) -> None:
            permitted.add(target[0])
            self.internet.send(data, self.relay_address, target)

        def receive(data: bytes, source: Address) -> None:
            if source[0] in permitted:
                self._hand_over(data, source, relay)

        relay = Socket(send, relayed=True)
        self.internet.attach(self.relay_address, receive)
        return relay

    def _hand_over(self, data: bytes, source: Address, carrier: Socket) -> None:
        assert self.on_stun is not None
        try:
            self.on_stun(data, source, carrier)
        except Exception:  # noqa: BLE001 - as the endpoint does
            self.malformed += 1


def introduce(offering: IceSession, answering: IceSession) -> None:
    """Carry offer and answer, whole."""
    offering.peer(answering.ufrag, answering.password, answering.candidates())
    answering.peer(offering.ufrag, offering.password, offering.candidates())
    offering.more((), last=True)
    answering.more((), last=True)
