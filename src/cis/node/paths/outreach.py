"""How this node reaches others beyond dialling them: candidates, signals, paths through NATs, and keeping them good.

It puts together the parts, which know nothing of each other: `signalling`, `reaching` and `mending` here, and those of
`cis.reach`, which belong to the endpoint and live as long as it is open.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from cis.errors import Unavailable
from cis.model import Candidate, NodeId
from cis.model.record import CANDIDATES_MAX
from cis.net import Connection, Endpoint
from cis.net.paths import Path
from cis.node.core import events
from cis.node.core.core import Core
from cis.node.core.events import LinkId
from cis.node.finding.addresses import own_candidates
from cis.node.home.local import LocalNode
from cis.node.paths import mending, reaching, tunnelling
from cis.node.paths.mending import Mending
from cis.node.paths.negotiation import Search
from cis.node.paths.reaching import Reaching
from cis.node.paths.signalling import Carriers, Signaller, Signpost
from cis.node.paths.tunnelling import Tunnelling
from cis.node.streams.links import PeerLink
from cis.node.streams.paces import Tally
from cis.peers.places import is_local
from cis.reach.gathering import Gatherer
from cis.reach.hub import IceHub
from cis.reach.options import ReachOptions
from cis.reach.portmap import Mapper
from cis.reach.transports import NoPath, Transport
from cis.reach.watch import NetworkWatch
from cis.wire.signals import Meet, Refuse, Signal, Waits

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Terms:
    """What the settings say of reaching others."""

    reach: ReachOptions
    anchors: Sequence[Signpost] = ()
    external: tuple[str, int] | None = None
    transports: Sequence[Transport] = ()
    """what carries datagrams where ICE finds no path, the best first"""


@dataclass(frozen=True)
class Around:
    """What this needs of the node."""

    report: Callable[[events.Event], None]
    spawn: Callable[[Coroutine[None, None, None]], None]
    tell_record: Callable[[], None]
    """tells the peers where this node is reached now"""
    network_changed: Callable[[], None]
    """tells those that find nodes that the network is another"""


@dataclass(frozen=True)
class Way:
    """How to dial a member beyond its addresses, and what to tell of the connection that comes of it."""

    dial: Callable[[], Awaitable[Connection]]
    keep: Callable[[Connection], None]


class Outreach:
    """Belongs to the loop's thread; `open` comes before a connection does."""

    def __init__(
        self, local: LocalNode, terms: Terms, around: Around, links: dict[LinkId, PeerLink], tally: Tally
    ) -> None:
        self._local = local
        self._terms = terms
        self._around = around
        self._links = links
        self._tally = tally
        self._told: tuple[Candidate, ...] = ()
        self._relayed = False
        self.signaller: Signaller
        self.reaching: Reaching
        self.tunnelling: Tunnelling
        self.mending: Mending
        self.gatherer: Gatherer
        self.mapper: Mapper | None = None
        self._core: Core
        self._endpoint: Endpoint
        self._hub: IceHub

    def open(self, endpoint: Endpoint, core: Core) -> None:
        """Begin to gather candidates of an endpoint, and to watch the network under it; ends with the node."""
        self._core, self._endpoint = core, endpoint
        spawn, loopback = self._around.spawn, ipaddress.ip_address(endpoint.address[0]).is_loopback
        if self._terms.reach.upnp and not loopback:
            self.mapper = Mapper(endpoint.address[1], self._on_mapping)
            spawn(self.mapper.run())
        self._hub = IceHub(endpoint)
        self.gatherer = Gatherer(endpoint, self._hub, self._terms.reach, self._hosts, self.mapper)
        self._compose(loopback=loopback)
        self._told = self.candidates()
        self.gatherer.on_change.append(self._on_candidates)
        spawn(self.gatherer.run())
        spawn(NetworkWatch().run(self.on_network_change))

    def _compose(self, *, loopback: bool) -> None:
        own, core = self._local.identity.node, self._core
        carriers = Carriers(self._links, core.overlay.neighbours, self._terms.anchors, self._tally)
        self.signaller = Signaller(self._local, carriers, self._on_signal)
        for anchor in self._terms.anchors:
            anchor.on_up = self._on_ways
        self.reaching = Reaching(
            reaching.Means(
                own,
                search=self._search,
                ready=self.gatherer.ready,
                send=self.signaller.send,
                admits=self._admits,
                expect=self._endpoint.expect,
                link_with=self._link_with,
                move=self._move,
                adopted=self._adopted,
                spawn=self._around.spawn,
                entropy=self._local.entropy,
                loopback=loopback,
                tally=self._tally,
            )
        )
        self.tunnelling = Tunnelling(
            tunnelling.Means(
                own,
                self._terms.transports,
                send=self.signaller.send,
                admits=self._admits,
                expect=self._endpoint.expect,
                in_use=self._endpoint.uses,
                take=self._endpoint.receive_via,
                spawn=self._around.spawn,
                entropy=self._local.entropy,
                tally=self._tally,
            )
        )
        name_of, signaller = self._local.cluster.name_of, self.signaller
        around = mending.Around(own, self._around.report, signaller.possible, name_of, signaller.doubt_anchors)
        self.mending = Mending(self.reaching, around)

    # --- what the node asks --------------------------------------------------------------------------------------

    def candidates(self) -> tuple[Candidate, ...]:
        """Return what this node's record says it is reached at, best first."""
        return self.gatherer.public()[:CANDIDATES_MAX]

    def negotiable(self, node: NodeId) -> bool:
        """Tell whether there is a way to a member beyond dialling it: see `way_to`."""
        return self.signaller.possible(node) or bool(self._beyond_relay(node))

    @asynccontextmanager
    async def way_to(self, node: NodeId) -> AsyncIterator[Way]:
        """Agree with a member on a path, or, where there is none, on a channel of another transport.

        Where nobody carries signals its public addresses are dialled by our relay.
        """
        if self.signaller.possible(node):
            async with AsyncExitStack() as stack:
                try:
                    found = await stack.enter_async_context(self.reaching.path_to(node))
                    way = Way(partial(self._endpoint.dial_over, found.agreed), found.keep)
                except NoPath as none:
                    tunnel = await self.tunnelling.path_in_place_of(none, node)
                    way = Way(partial(self._endpoint.dial_over, tunnel), lambda _: None)
                yield way
        else:
            await asyncio.sleep(self._terms.reach.relay_hold_s)
            yield Way(partial(self._dial_by_relay, node), lambda _: None)

    def on_connected(self, link: PeerLink) -> None:
        """A connection is authenticated; it is looked after from now on."""
        self.reaching.on_connected(link.node, link.connection)
        self._around.spawn(self.mending.tend(link))
        if len(self._links) == 1:
            self._on_ways()

    def on_network_change(self, what: str) -> None:
        """The network of this machine is another than before."""
        _log.info("the network changed: %s", what)
        self.gatherer.regather()
        if self.mapper is not None:
            self.mapper.again()
        self.signaller.doubt_anchors()
        self.mending.probe()
        self.mending.hurry()
        self._on_ways()
        self._around.network_changed()

    # --- parts ---------------------------------------------------------------------------------------------------

    def _search(self, controlling: bool, relay: bool) -> Search:  # noqa: FBT001 - the two things a search is told
        from cis.reach.session import IceSession  # noqa: PLC0415 - loads aioice, which a node at rest does without

        hold_s = self._terms.reach.relay_hold_s if relay else None
        return IceSession(self._hub, self.gatherer, controlling=controlling, relay_hold_s=hold_s)

    def _move(self, link: PeerLink, path: Path) -> None:
        self.mending.move(link, path)

    def _adopted(self, node: NodeId, connection: Connection) -> None:
        for link in self._links.values():
            if link.node == node and link.connection is connection:
                self._around.report(events.Moved(link.id, connection.path.relayed))
                self.mending.look(link.id)

    def _on_mapping(self) -> None:
        self.gatherer.refresh()

    def _on_signal(self, sender: NodeId, signal: Signal) -> None:
        if isinstance(signal, Meet | Waits | Refuse) and self.tunnelling.on_signal(sender, signal):
            return
        if not isinstance(signal, Meet | Waits):
            self.reaching.on_signal(sender, signal)

    def _admits(self, node: NodeId) -> bool:
        now = asyncio.get_running_loop().time()
        return self.signaller.deals_with(node) and not self._core.dialling.shuts_out(node, now)

    def _link_with(self, node: NodeId) -> PeerLink | None:
        link = self._core.link_to(node)
        return self._links.get(link.id) if link is not None else None

    def _hosts(self) -> tuple[Candidate, ...]:
        return own_candidates(self._endpoint.address, self._terms.external)

    def _beyond_relay(self, node: NodeId) -> list[Path]:
        """The paths by our relay to where a member is said to be in the open."""
        relay, peer = self.gatherer.relay, self._core.book.get(node)
        if relay is None or peer is None or not self.signaller.deals_with(node):
            return []
        return [Path(relay, (one.host, one.port), local="relay") for one in peer.addresses if not is_local(one.host)]

    async def _dial_by_relay(self, node: NodeId) -> Connection:
        failed = Unavailable("nobody carries signals to it, and no public address of it is known")
        for path in self._beyond_relay(node):
            try:
                return await self._endpoint.dial_over(path)
            except Unavailable as error:
                failed = error
        raise failed

    def _on_candidates(self) -> None:
        self.reaching.on_candidates()
        self.mending.hurry()
        relayed = self.gatherer.relay is not None
        if relayed and not self._relayed:
            self._on_ways()
        self._relayed = relayed
        if (now := self.candidates()) != self._told:
            self._told = now
            self._around.tell_record()
            for anchor in self._terms.anchors:
                anchor.renew()

    def _on_ways(self) -> None:
        self._around.report(events.WaysChanged())
