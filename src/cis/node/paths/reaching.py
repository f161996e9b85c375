"""Paths through NATs: two members agree by signals on what to try (ICE, RFC 8445), and on which path it came to.

Who offers is ICE's controlling side and dials QUIC over the path found, as who dials an address does; who answers
expects it there. With a connection that lives, both move it to the path instead (a restart), each when its own search
has ended. There is one negotiation with a member at a time. Where both offer at once the offer of the smaller id
stands, and the other side answers it. ::

    async with reaching.path_to(node) as found:
        connection = await endpoint.dial_over(found.agreed)
        found.keep(connection)                      # else the search is over when the block ends
    await reaching.renew(link, relay=False)         # moves a live connection, both ends of it
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from cis.errors import CisError, Unavailable
from cis.model import NodeId
from cis.net import Connection
from cis.net.paths import Path
from cis.node.paths.negotiation import Negotiation, Search, Theirs
from cis.node.streams.links import PeerLink
from cis.node.streams.paces import OFFERS_BURST, OFFERS_PER_S, Tally
from cis.rate import Rates
from cis.reach.transports import NoPath
from cis.trust.sealing import Entropy
from cis.wire.signals import Answer, More, Offer, PathSignal, Refuse, Signal

_log = logging.getLogger(__name__)

NEGOTIATIONS_MAX = 8
"""Negotiations under way, whoever began them."""
ANSWER_S = 5.0
NEGOTIATION_S = 20.0
ARRIVAL_S = 8.0
"""How long the one that answered waits to be dialled over the path that was found."""
OLD_PATH_S = 5.0
"""How long the checks of a path are answered after its connection moved on."""
MORES_MAX = 32
"""Messages with further candidates taken in one negotiation."""


@dataclass(frozen=True)
class Means:
    """What reaching needs of the node."""

    own: NodeId
    search: Callable[[bool, bool], Search]
    """makes a search, as the controlling side or not, with relays or without"""
    ready: Callable[[], Awaitable[None]]
    """waits, not for long, until this side knows its candidates"""
    send: Callable[[NodeId, Signal], Awaitable[None]]
    admits: Callable[[NodeId], bool]
    expect: Callable[[Path], Callable[[], None]]
    link_with: Callable[[NodeId], PeerLink | None]
    move: Callable[[PeerLink, Path], None]
    adopted: Callable[[NodeId, Connection], None]
    """is told of a connection that was dialled on the path agreed on, and so may be known better than before"""
    spawn: Callable[[Coroutine[None, None, None]], None]
    entropy: Entropy
    loopback: bool
    """whether candidates on loopback are tried: only by a node that itself listens there"""
    tally: Tally = field(default_factory=Tally)


class Reaching:
    """Belongs to the loop's thread."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._under_way: dict[NodeId, Negotiation] = {}
        self._kept: dict[NodeId, Negotiation] = {}
        self._room = asyncio.Semaphore(NEGOTIATIONS_MAX)
        self._offers: Rates[NodeId] = Rates(per_s=OFFERS_PER_S, burst=OFFERS_BURST)
        self.theirs = Theirs(loopback=means.loopback)

    @asynccontextmanager
    async def path_to(self, node: NodeId) -> AsyncIterator[Negotiation]:
        """Agree with a member on a path, to dial over it; raises `Unavailable`, saying what was tried."""
        while (theirs := self._under_way.get(node)) is not None:
            await theirs.ended.wait()
        negotiation = self._begin(node, self._means.entropy(16), offered=True, relay=True)
        try:
            async with self._counted(negotiation):
                await self._offer(negotiation, restart=False)
                yield negotiation
        except Unavailable:
            if (theirs := negotiation.instead) is None:
                raise
            await theirs.ended.wait()
            kind = NoPath if theirs.hopeless else Unavailable
            raise kind(f"it offered a path at the same time: {theirs.came_to}") from None

    async def renew(self, link: PeerLink, *, relay: bool) -> None:
        """Move a live connection to a path newly found, through a relay only with ``relay``; raises `Unavailable`.

        Where the peer looks for one already, that is waited for instead.
        """
        theirs = self._under_way.get(link.node)
        if theirs is None:
            negotiation = self._begin(link.node, self._means.entropy(16), offered=True, relay=relay)
            try:
                async with self._counted(negotiation):
                    await self._offer(negotiation, restart=True)
                    self._means.move(link, negotiation.agreed)
                    negotiation.keep(link.connection)
                return
            except Unavailable:
                if (theirs := negotiation.instead) is None:
                    raise
        await theirs.ended.wait()
        if theirs.connection is None:
            raise Unavailable(f"it looked for another path itself: {theirs.came_to}")

    def on_candidates(self) -> None:
        """This side's candidates are others than before: tell whoever looks for a path with it."""
        for negotiation in list(self._under_way.values()):
            if negotiation.answered.is_set() and not negotiation.refusal:
                self._means.spawn(self._tell_news(negotiation, last=False))

    def on_connected(self, node: NodeId, connection: Connection) -> None:
        """A connection with a member is authenticated: it is what an answer waited for, or makes it needless."""
        negotiation = self._under_way.get(node)
        if negotiation is None or negotiation.offered:
            return
        if negotiation.path is None:
            negotiation.early.append(connection)
        else:
            self._take_arrival(negotiation, negotiation.path, connection)

    def on_signal(self, sender: NodeId, signal: PathSignal) -> None:
        """Take what a member signals; nothing it may be raises."""
        _log.debug("%s came", _described(signal))
        if isinstance(signal, Offer):
            self._on_offer(sender, signal)
            return
        negotiation = self._under_way.get(sender)
        if negotiation is None or negotiation.id != signal.session:
            self._means.tally["signals_too_late"] += 1
            return
        match signal:
            case Answer():
                if negotiation.offered and not negotiation.answered.is_set():
                    negotiation.passed_over = None  # the peer gave it up for ours
                    negotiation.search.peer(
                        signal.ufrag, signal.password, self.theirs.vetted(sender, signal.candidates)
                    )
                    negotiation.answered.set()
            case More():
                negotiation.mores += 1
                if negotiation.mores <= MORES_MAX:
                    negotiation.search.more(self.theirs.vetted(sender, signal.candidates, add=True), signal.last)
            case Refuse():
                negotiation.refuse(f"it refused: {signal.reason}")

    # --- offering ------------------------------------------------------------------------------------------------

    async def _offer(self, negotiation: Negotiation, *, restart: bool) -> None:
        """Offer, and search once that is answered; the path is the negotiation's then."""
        search, node = negotiation.search, negotiation.node
        if negotiation.refusal:
            raise Unavailable(negotiation.refusal)
        await self._send(
            node, Offer(negotiation.id, search.ufrag, search.password, negotiation.news(), restart=restart)
        )
        try:
            async with asyncio.timeout(ANSWER_S):
                await negotiation.answered.wait()
            if negotiation.refusal:
                raise Unavailable(negotiation.refusal)
            self._means.spawn(self._tell_rest(negotiation))
            negotiation.path = await search.connect()
        except TimeoutError:
            raise Unavailable(f"it did not answer an offer of paths within {ANSWER_S:g} s") from None
        except asyncio.CancelledError:
            negotiation.passed_over = None
            self._means.spawn(self._tell(node, Refuse(negotiation.id, "it is not needed any more")))
            raise

    # --- answering -----------------------------------------------------------------------------------------------

    def _on_offer(self, sender: NodeId, offer: Offer) -> None:
        if not self._offers.take(sender, asyncio.get_running_loop().time()):
            self._means.tally["offers_over_pace"] += 1
            return
        if not self._means.admits(sender):
            self._means.tally["offers_not_admitted"] += 1
            self._means.spawn(self._tell(sender, Refuse(offer.session, "it wants no connection now")))
            return
        current = self._under_way.get(sender)
        if current is not None and current.id == offer.session:
            return
        if current is not None and current.offered and not current.answered.is_set() and self._means.own < sender:
            current.passed_over = offer
            return
        self._take_up(sender, offer, current)

    def _take_up(self, sender: NodeId, offer: Offer, current: Negotiation | None = None) -> None:
        """Answer an offer, in place of what is under way with its sender."""
        if self._room.locked():
            self._means.tally["offers_too_many"] += 1
            self._means.spawn(self._tell(sender, Refuse(offer.session, "it looks for too many paths at once")))
            return
        link = self._means.link_with(sender)
        if link is not None and not offer.restart:
            link.connection.probe()  # the peer seems to have lost its end
        improving = offer.restart and link is not None and link.connection.path.relayed and not link.connection.suspect
        negotiation = self._begin(sender, offer.session, offered=False, relay=not improving)
        if current is not None:
            current.instead = negotiation
            current.refuse("the peer offered at the same time")
        self._means.spawn(self._answer(negotiation, offer))

    async def _answer(self, negotiation: Negotiation, offer: Offer) -> None:
        node, search = negotiation.node, negotiation.search
        try:
            async with self._counted(negotiation):
                link = self._means.link_with(node) if offer.restart else None
                if offer.restart and link is None:
                    await self._send(node, Refuse(offer.session, "it has no connection that could be moved"))
                    return
                search.peer(offer.ufrag, offer.password, self.theirs.vetted(node, offer.candidates))
                answer = Answer(negotiation.id, search.ufrag, search.password, negotiation.news())
                await self._send(node, answer)
                negotiation.answered.set()
                self._means.spawn(self._tell_rest(negotiation))
                negotiation.path = await search.connect()
                if link is not None:
                    self._means.move(link, negotiation.agreed)
                    negotiation.keep(link.connection)
                else:
                    await self._be_dialled(negotiation, negotiation.path)
        except CisError as error:
            negotiation.outcome, negotiation.hopeless = str(error), isinstance(error, NoPath)

    async def _be_dialled(self, negotiation: Negotiation, path: Path) -> None:
        withdraw = self._means.expect(path)
        for connection in negotiation.early:
            self._take_arrival(negotiation, path, connection)
        try:
            async with asyncio.timeout(ARRIVAL_S):
                await negotiation.arrived.wait()
        except TimeoutError:
            raise Unavailable("a path was found, but it was not dialled") from None
        finally:
            withdraw()

    def _take_arrival(self, negotiation: Negotiation, path: Path, connection: Connection) -> None:
        """Keep a connection that runs on the path, even if it was there before the path was known to be one."""
        if _runs_on(connection, path):
            negotiation.connection = connection
            negotiation.arrived.set()
            self._means.adopted(negotiation.node, connection)
        elif not connection.closing:
            negotiation.refuse("there is another connection now")

    # --- both ----------------------------------------------------------------------------------------------------

    def _begin(self, node: NodeId, id_: bytes, *, offered: bool, relay: bool) -> Negotiation:
        negotiation = Negotiation(id_, node, self._means.search(offered, relay), offered)
        self._under_way[node] = negotiation
        return negotiation

    @asynccontextmanager
    async def _counted(self, negotiation: Negotiation) -> AsyncIterator[None]:
        """Take a place among those under way, and in the end let go of the search, or keep it with its connection."""
        try:
            async with self._room, asyncio.timeout(NEGOTIATION_S):
                yield
        except TimeoutError:
            raise Unavailable(f"no path was agreed on within {NEGOTIATION_S:g} s") from None
        finally:
            if self._under_way.get(negotiation.node) is negotiation:
                del self._under_way[negotiation.node]
            negotiation.ended.set()
            if negotiation.connection is not None:
                self._means.spawn(self._hold(negotiation, negotiation.connection))
            else:
                negotiation.search.close()
                if negotiation.passed_over is not None:
                    self._take_up(negotiation.node, negotiation.passed_over)

    async def _hold(self, negotiation: Negotiation, connection: Connection) -> None:
        """Answer checks while the connection is on the path, and a little longer."""
        before, self._kept[negotiation.node] = self._kept.get(negotiation.node), negotiation
        if before is not None:
            before.over.set()
        try:
            if not connection.closing:
                async with asyncio.TaskGroup() as group:
                    ends = [group.create_task(negotiation.over.wait()), group.create_task(connection.wait_closed())]
                    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                    for waiting in ends:
                        waiting.cancel()
                await asyncio.sleep(OLD_PATH_S)
        finally:
            negotiation.search.close()
            if self._kept.get(negotiation.node) is negotiation:
                del self._kept[negotiation.node]

    async def _tell_rest(self, negotiation: Negotiation) -> None:
        await self._means.ready()
        await self._tell_news(negotiation, last=True)

    async def _tell_news(self, negotiation: Negotiation, *, last: bool) -> None:
        news = negotiation.news()
        if (news or last) and not negotiation.ended.is_set():
            await self._tell(negotiation.node, More(negotiation.id, news, last))

    async def _tell(self, node: NodeId, signal: PathSignal) -> None:
        """Send what may as well be lost."""
        try:
            await self._send(node, signal)
        except Unavailable:
            self._means.tally["signals_unsent"] += 1

    async def _send(self, node: NodeId, signal: PathSignal) -> None:
        _log.debug("%s goes", _described(signal))
        await self._means.send(node, signal)


def _runs_on(connection: Connection, path: Path | None) -> bool:
    on = connection.path
    return path is not None and on.carrier is path.carrier and on.address == path.address


def _described(signal: PathSignal) -> str:
    """Say what a signal is, for the log of one who looks for a fault: no addresses."""
    listed = () if isinstance(signal, Refuse) else signal.candidates
    kinds = Counter(one.kind for one in listed)
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return f"{type(signal).__name__.lower()} {signal.session.hex()[:8]} ({counted})"
