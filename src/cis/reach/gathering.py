"""What this node can be reached at: its own addresses, how servers see it, a router's mapping, a relay (RFC 8445 §5.1).

One for each node and shared by all searches, so candidates are there before anybody asks. Servers are asked all at
once: the first answers count, and the later ones are compared with them to tell how the NAT maps (RFC 5780 §4.3).
One TURN allocation serves all peers. A server that cannot be used is a fact for `cis p2p netcheck`, never an error.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from cis.model import Candidate
from cis.reach.candidates import numbered
from cis.reach.facts import Facts
from cis.reach.names import Address, is_usable
from cis.reach.reflexive import Reflection
from cis.reach.relaying import Relaying

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cis.net import Endpoint
    from cis.reach.hub import IceHub
    from cis.reach.options import ReachOptions
    from cis.reach.portmap import Mapper
    from cis.reach.relay import Relay
    from cis.wire.signals import CandidateKind, IceCandidate

_HOSTS_MAX = 24


class Gatherer:
    """Gathers as long as ``run`` runs; each of ``on_change`` is called when ``candidates`` has become another."""

    def __init__(
        self,
        endpoint: Endpoint,
        hub: IceHub,
        options: ReachOptions,
        host_candidates: Callable[[], tuple[Candidate, ...]],
        mapper: Mapper | None,
    ) -> None:
        self.on_change: list[Callable[[], None]] = []
        self._options = options
        self._host_candidates = host_candidates
        self._mapper = mapper
        self._hub = hub
        self._hosts = self._own_hosts()
        self._ready = asyncio.Event()
        datagram_relays = [(one.host, one.port) for one in options.turn_servers if one.transport == "udp"]
        # A TURN server answers STUN too (RFC 8656 §5).
        servers = (*options.stun_servers, *datagram_relays)
        self._reflection = Reflection(hub, servers, lambda: self._hosts, self._update)
        self._relaying = Relaying(options.turn_servers, hub.names, endpoint, options.gather_s, self._update)
        self._candidates = numbered(self._found())

    @property
    def relay(self) -> Relay | None:
        """This node's one allocation."""
        return self._relaying.relay

    async def run(self) -> None:
        """Gather and keep what was gathered, until cancelled; then the relay is given back."""
        self._update()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._reflection.run())
            group.create_task(self._relaying.run())

    def regather(self) -> None:
        """The network has changed: ask everybody anew."""
        self._ready.clear()
        self._hub.names.forget()
        self._reflection.again()
        self._relaying.again()
        self.refresh()

    def refresh(self) -> None:
        """Take up what the machine and the mapper say now."""
        self._hosts = self._own_hosts()
        self._update()

    def freshen(self) -> None:
        """A search begins: make sure of what was learnt a while ago."""
        self._reflection.freshen()
        self._relaying.freshen()

    async def ready(self) -> None:
        """Wait for the first answer of any server, at most ``gather_s``; not at all where none is configured."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._options.gather_s):
                await self._ready.wait()

    def candidates(self) -> tuple[IceCandidate, ...]:
        """All known by now, in order of priority within their kind."""
        return self._candidates

    def public(self) -> tuple[Candidate, ...]:
        """What belongs into this node's record: addresses that can be dialled without a search."""
        mapped = [Candidate(*address, "mapped") for address in self._mapped()]
        return (*(one for one in self._host_candidates() if one.path != "relayed"), *mapped)

    def facts(self) -> Facts:
        """What was found out, for people."""
        relay = self.relay
        family = "" if relay is None else f"{relay.kind}, IPv{6 if ':' in relay.address[0] else 4}"
        servers = (*self._reflection.facts(), *self._relaying.facts())
        seen = self._reflection.addresses()
        return Facts(servers, seen, self._reflection.mapping(), self._mapped(), family or None)

    def _update(self) -> None:
        gathered = numbered(self._found())
        found = self._reflection.addresses() or self.relay is not None
        if found or (self._reflection.settled and self._relaying.settled):
            self._ready.set()
        if gathered != self._candidates:
            self._candidates = gathered
            for callback in list(self.on_change):
                callback()

    def _found(self) -> Iterator[tuple[CandidateKind, Address]]:
        for one in self._hosts[:_HOSTS_MAX]:
            yield "host", one
        for one in self._mapped():
            yield "mapped", one
        for one in self._reflection.addresses():
            yield "srflx", one
        if self.relay is not None:
            yield "relay", self.relay.address

    def _own_hosts(self) -> tuple[Address, ...]:
        hosts = ((one.host, one.port) for one in self._host_candidates() if one.path in ("direct", "lan"))
        return tuple(one for one in hosts if is_usable(*one))

    def _mapped(self) -> tuple[Address, ...]:
        """The router's port, at the address it names; at the one STUN servers see, where it names none."""
        mapping = None if self._mapper is None else self._mapper.mapping
        if mapping is None:
            return ()
        seen = (host for host, _ in self._reflection.addresses() if ":" not in host)
        host = mapping.host or next(seen, None)
        return () if host is None else ((host, mapping.port),)
