"""The running node: performs what `cis.node.core` decides, on one event loop, in one TaskGroup.

Commits come from the writer's thread before anything of them is sent. Each peer is served inside its own
boundary; what a peer does wrong ends its link and nothing else.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from random import Random

from cis.discovery.provider import Provider
from cis.errors import CisError, Fault, PeerFault
from cis.model import Candidate, NodeId
from cis.net import Certificate, Connection, ConnectionLost, Endpoint, NetLimits
from cis.node import events
from cis.node.addresses import own_candidates
from cis.node.core import Core
from cis.node.events import LinkId
from cis.node.finding import Finder, Problems, place_of
from cis.node.greeting import reach, welcome
from cis.node.joining import serve_join
from cis.node.links import PeerLink, Surroundings
from cis.node.local import LocalNode
from cis.node.memory_of_peers import keep_saving, load_peers, save_peers
from cis.peers import PeerBook, Target
from cis.store.writer import Commit
from cis.trust import KeyUsed
from cis.wire.messages import encode

_log = logging.getLogger(__name__)

_BLAMED = frozenset({Fault.MALFORMED, Fault.TOO_LARGE, Fault.BAD_SIGNATURE, Fault.BAD_HASH, Fault.UNAUTHORISED})
"""What only a peer that breaks the protocol is closed on for."""


@dataclass(frozen=True)
class NodeOptions:
    """What the settings decide about a running node."""

    host: str = "0.0.0.0"  # noqa: S104 - a node is there to be reached; `listen_address` narrows it
    port: int = 7677
    external: tuple[str, int] | None = None
    """host and port under which the user says this node is reachable from outside"""
    sync_interval_s: float = 60.0
    limits: NetLimits = field(default_factory=NetLimits)
    providers: Sequence[Provider] = ()


class _Stopped(Exception):
    """The node was asked to stop."""


class Driver:
    """Runs one node; see `run`. Everything but `stop` belongs to the loop's thread."""

    def __init__(self, local: LocalNode, options: NodeOptions) -> None:
        self.local = local
        self.options = options
        self.links: dict[LinkId, PeerLink] = {}
        self.core = Core(
            local.identity.node,
            PeerBook(local.identity.node, Random()),
            Random(),
            options.sync_interval_s,
        )
        self.skews_ms: dict[NodeId, int] = {}
        self.problems = Problems()
        self._finder = Finder(local, self.report, self.problems)
        self.endpoint: Endpoint
        self._numbers = itertools.count(1)
        self._stop = asyncio.Event()
        self._changed = asyncio.Event()
        self._watchers: set[Callable[[Commit], None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._group: asyncio.TaskGroup

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Listen, find and serve peers until `stop`; raises `Unavailable` when the port cannot be bound."""
        options = self.options
        async with await Endpoint.open(
            options.host,
            options.port,
            Certificate.generate(),
            limits=options.limits,
            on_connection=lambda connection: self._spawn(self._welcome(connection)),
        ) as self.endpoint:
            self.local.store.on_commit(self._on_commit_elsewhere)
            try:
                async with asyncio.TaskGroup() as self._group:
                    load_peers(self.local, self._finder.sight)
                    for provider in options.providers:
                        self._group.create_task(self._finder.provide(provider, self.endpoint.address[1]))
                    self._group.create_task(keep_saving(self.local, self.core.book))
                    on_ready()
                    await self._stop.wait()
                    raise _Stopped
            except* _Stopped:
                pass
            finally:
                self._stop.set()
                if self._timer is not None:
                    self._timer.cancel()
                save_peers(self.local, self.core.book)

    def stop(self) -> None:
        """Ask the node to end; `run` returns once everything is closed."""
        self._stop.set()

    def watch(self, watcher: Callable[[Commit], None]) -> Callable[[], None]:
        """Call the watcher after every commit, on the loop; returns what ends that."""
        self._watchers.add(watcher)
        return lambda: self._watchers.discard(watcher)

    def report(self, event: events.Event) -> None:
        """Give an event to the core and perform what it decides; once the node is stopping nothing follows."""
        if self._stop.is_set():
            return
        for effect in self.core.handle(event, self._loop.time()):
            self._perform(effect)
        self._arm()
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_changed(self) -> None:
        """Return after the next event the core has handled; look at its state then."""
        await self._changed.wait()

    def addresses(self) -> list[tuple[str, int]]:
        """Return the addresses at which others may reach this node, best first."""
        return [(one.host, one.port) for one in self._candidates()]

    async def connect(self, target: Target) -> NodeId:
        """Dial a target now and return who answered; raises what went wrong."""
        node, connection = await reach(self.endpoint, self.local, target)
        self._adopt(connection, node, target)
        return node

    # --- effects -------------------------------------------------------------------------------------------------

    def _perform(self, effect: events.Effect) -> None:
        match effect:
            case events.Dial(target):
                self._spawn(self._dial(target))
            case events.Close(link, fault, reason):
                if (found := self.links.get(link)) is not None:
                    found.connection.close(fault, reason)
            case events.Synchronise(link):
                if (found := self.links.get(link)) is not None:
                    self._spawn(found.synchronise())
            case events.Push(links, frames):
                for number in links:
                    if (found := self.links.get(number)) is not None:
                        found.push(frames)
            case events.Introduce(link):
                if (found := self.links.get(link)) is not None:
                    self._spawn(self._introduce(found))

    async def _dial(self, target: Target) -> None:
        try:
            await self.connect(target)
        except PeerFault as fault:
            pointless = fault.fault is Fault.SELF
            self.report(events.DialFailed(target, fault.detail, pointless))
            if not pointless:
                self.problems.note(place_of(target), fault.detail)
        except ConnectionLost as lost:
            self.report(events.DialFailed(target, str(lost.reason)))
            self.problems.note(place_of(target), str(lost.reason))
        except CisError as error:
            self.report(events.DialFailed(target, str(error)))

    async def _introduce(self, link: PeerLink) -> None:
        try:
            await link.introduce()
            _, clock_ms = await link.ping()
            self.skews_ms[link.node] = clock_ms - self.local.clock_ms()
        except (CisError, TimeoutError):
            _log.debug("a peer could not be introduced to", exc_info=True)

    # --- connections -----------------------------------------------------------------------------------------------

    async def _welcome(self, connection: Connection) -> None:
        try:
            outcome = await welcome(self.local, connection)
            if outcome.key_used is KeyUsed.TICKET and outcome.ticket_id is not None:
                name = await serve_join(self.local, connection, outcome.node, outcome.ticket_id)
                _log.info("%s joined the cluster", name)
                self.report(events.Learned())
            else:
                self._adopt(connection, outcome.node, None)
        except PeerFault as fault:
            self.problems.note("an incoming connection", fault.detail)
            connection.close(fault.fault, fault.detail if outcome_known(fault) else "")
        except (CisError, TimeoutError) as error:
            self.problems.note("an incoming connection", str(error))
            connection.close(Fault.REFUSED, "")

    def _adopt(self, connection: Connection, node: NodeId, via: Target | None) -> None:
        number = next(self._numbers)
        around = Surroundings(
            self.local,
            self.report,
            lambda: self._finder.records.to_send(self._candidates()),
            lambda raw: self._on_record(raw, number),
        )
        link = PeerLink(number, node, connection, around)
        self.links[link.id] = link
        self._spawn(self._serve(link))
        if via is not None:
            self.problems.pop(place_of(via), None)
        self.report(events.Connected(link.id, node, via))

    async def _serve(self, link: PeerLink) -> None:
        reason, blamed = "the node ended", False
        try:
            closed = await link.serve()
            reason, blamed = str(closed), not closed.by_peer and closed.fault in _BLAMED
        finally:
            self.links.pop(link.id, None)
            link.connection.close(Fault.INTERNAL, "internal error")  # closed already, unless serving it failed
            self.report(events.Lost(link.id, reason, blamed))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        self._group.create_task(_contained(work))

    # --- what comes from elsewhere ---------------------------------------------------------------------------------

    def _on_record(self, raw: bytes, teller: LinkId) -> None:
        """Dial what a record names, and tell the others of it, once."""
        if self._finder.on_record(raw, self.endpoint.address):
            for link in self.links.values():
                if link.id != teller:
                    self._spawn(self._introduce(link))

    def _on_commit_elsewhere(self, commit: Commit) -> None:
        """Called on the writer's thread."""
        if not self._stop.is_set():
            self._loop.call_soon_threadsafe(self._on_commit, commit)

    def _on_commit(self, commit: Commit) -> None:
        if commit.written and self.links:
            shared = self.local.cluster.public
            frames = tuple(encode(segment) for segment in commit.written if segment.space == shared)
            if frames:
                self.report(events.Written(frames))
        for watcher in list(self._watchers):
            watcher(commit)

    # --- time and end ------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        at = self.core.next_timer()
        if at is not None:
            self._timer = self._loop.call_at(at, self.report, events.Ticked())

    def _candidates(self) -> tuple[Candidate, ...]:
        return own_candidates(self.endpoint.address, self.options.external)


async def _contained(work: Coroutine[None, None, None]) -> None:
    """The one boundary: a defect met in work for one peer is recorded and harms no other."""
    try:
        await work
    except* Exception:  # noqa: BLE001 - see above
        _log.exception("work for a peer failed")


def outcome_known(fault: PeerFault) -> bool:
    """Tell whether the dialler was proven when the fault arose, so that it may read why."""
    return fault.fault is not Fault.REFUSED
