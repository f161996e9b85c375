"""The running node: performs what `cis.node.core.core` decides, on one event loop, in one TaskGroup.

Commits come from the writer's thread before anything of them is sent. Each peer is served inside its own
boundary; what a peer does wrong ends its link and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from random import Random

from cis.discovery.provider import Provider
from cis.errors import Fault
from cis.gossip import Gossip
from cis.gossip.config import GossipConfig
from cis.model import NodeId, SpaceId
from cis.net import Bandwidth, Certificate, Endpoint, NetLimits
from cis.node.bulletins.presence import Presence
from cis.node.bulletins.rounds import Rounds
from cis.node.bulletins.stability import Stability
from cis.node.bulletins.topics import Topics
from cis.node.core import events
from cis.node.core.choosing import Choice
from cis.node.core.core import Core
from cis.node.core.dialling import BAN_S
from cis.node.core.pool import PoolLimits
from cis.node.core.table import LINKS_PER_NODE_MAX
from cis.node.examining import Examiner
from cis.node.finding.bootstrap import Bootstrap, order_of_recall
from cis.node.freshness import Freshness
from cis.node.holding import Holding
from cis.node.home.local import LocalNode
from cis.node.meeting import Around, Meeting
from cis.node.paths import outreach
from cis.node.paths.describing import Describing
from cis.node.paths.measuring import Measuring
from cis.node.paths.outreach import Outreach, Terms
from cis.node.paths.signalling import Signpost
from cis.node.recovery import Recovery
from cis.node.upkeep import Upkeep
from cis.peers import PeerBook, Target
from cis.reach.options import ReachOptions
from cis.reach.transports import Transport
from cis.store.engine import Commit
from cis.wire.messages import encode

_log = logging.getLogger(__name__)

LEAVING_S = 0.5
"""How long a node that stops gives its last words to its neighbours."""


@dataclass(frozen=True)
class NodeOptions:
    """What the settings decide about a running node."""

    host: str = "0.0.0.0"  # noqa: S104 - a node is there to be reached; `listen_address` narrows it
    port: int = 7677
    external: tuple[str, int] | None = None
    """host and port under which the user says this node is reachable from outside"""
    sync_interval_s: float = 60.0
    collects: bool = False
    """whether this node drops history that all members have had; it reports what it holds in any case"""
    limits: NetLimits = field(default_factory=NetLimits)
    bandwidth: Bandwidth = field(default_factory=Bandwidth)
    pool: PoolLimits = field(default_factory=PoolLimits)
    links_per_node: int = LINKS_PER_NODE_MAX
    ban_s: float = BAN_S
    gossip: GossipConfig = field(default_factory=GossipConfig)
    providers: Sequence[Provider] = ()
    reach: ReachOptions = field(default_factory=ReachOptions)
    anchors: Sequence[Signpost] = ()
    transports: Sequence[Transport] = ()


class _Stopped(Exception):
    """The node was asked to stop."""


class Driver:
    """Runs one node; see `run`. Everything but `stop` belongs to the loop's thread."""

    def __init__(self, local: LocalNode, options: NodeOptions) -> None:
        self.local = local
        self.options = options
        self._meeting = Meeting(local, Around(self.report, self._spawn, lambda: self.outreach.candidates()))  # noqa: PLW0108 - it is made after this
        self.outreach = self._meeting.outreach = Outreach(
            local,
            Terms(options.reach, options.anchors, options.external, options.transports),
            outreach.Around(self.report, self._spawn, self._meeting.tell_record, self._meeting.finder.network_changed),
            self._meeting.links,
            self._meeting.tally,
        )
        self.explain = self._meeting.trying.attempts.of
        self.links = self._meeting.links
        self.problems = self._meeting.problems
        self.desk = self._meeting.desk
        self.tally = self._meeting.tally
        self.skews_ms = self._meeting.skews_ms
        self._rng = Random()
        own, book = local.identity.node, PeerBook(local.identity.node, Random(), self.outreach.negotiable)
        gossip = Gossip(own, self._meeting.own_record, Random(), options.gossip, Choice(book, Random()))
        targets_of, sharing = self._meeting.targets_of, local.cluster.sharing
        self.core = Core(own, book, gossip, Random(), options.sync_interval_s, targets_of, sharing)
        self.core.pool.limits = options.pool
        self.core.table.per_node_max, self.core.dialling.ban_s = options.links_per_node, options.ban_s
        record_of = self._meeting.finder.records.candidates_of
        describing = Describing(self.core, self.outreach, self.links, record_of)
        self.paths, self.ties = describing.paths, describing.ties
        self.bootstrap = Bootstrap(local, self.problems.note)
        self._measuring = Measuring(self.core, self.paths, self.report)
        self.topics = Topics(local, lambda body: self.report(events.TopicAsked(body)))
        self.presence = Presence(local, self.topics, Random(), self.ties)
        self._examiner = Examiner(local, self.topics, self.report, self.tally)
        self._upkeep = Upkeep(
            local,
            self.topics,
            self._meeting,
            self.report,
            lambda changes: self._spawn(self.recovery.after_session(own, changes)),
            Random(),
        )
        self.judge_again = self._upkeep.judge_again
        self.quarantined = self._meeting.quarantine.nodes
        self.stability = Stability(local, collects=options.collects)
        self._rounds = Rounds(self.stability, self.topics, self._rng)
        self.recovery = Recovery(local, lambda: list(self.links.values()))
        self.holding = Holding(local, lambda: list(self.links.values()), self._spawn)
        self._stop = asyncio.Event()
        self._ended = False
        self._reported: deque[events.Event] = deque()
        self._changed = asyncio.Event()
        self._watchers: set[Callable[[Commit], None]] = set()
        self._listeners: list[Callable[[events.Event], None]] = []
        self._timer: asyncio.Handle | None = None
        self._timer_at: float | None = None
        self._loop = asyncio.get_running_loop()
        self._group: asyncio.TaskGroup

    @property
    def endpoint(self) -> Endpoint:
        """The socket, once it is open."""
        return self._meeting.endpoint

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Listen, find and serve peers until `stop`; raises `Unavailable` when the port cannot be bound."""
        options = self.options
        async with await Endpoint.open(
            options.host,
            options.port,
            Certificate.generate(),
            limits=options.limits,
            on_connection=lambda connection: self._spawn(self._meeting.welcome(connection)),
        ) as self._meeting.endpoint:
            self.local.store.on_commit(self._on_commit_elsewhere)
            try:
                async with asyncio.TaskGroup() as self._group:
                    self._begin()
                    on_ready()
                    await self._live()
                    raise _Stopped
            except* _Stopped:
                pass
            finally:
                self.topics.close()
                if self._timer is not None:
                    self._timer.cancel()
                self.bootstrap.save(self.core.book, self._loop.time())

    def _begin(self) -> None:
        """Start what runs as long as the node does."""
        finder = self._meeting.finder
        self.endpoint.apply(self.options.limits, self.options.bandwidth)
        self.outreach.open(self.endpoint, self.core)
        now = self._loop.time()
        for peer in order_of_recall(self.bootstrap.load(now), now, self._rng):
            self.report(events.Recalled(peer))
        for provider in self.options.providers:
            self._group.create_task(finder.provide(provider, self.endpoint.address[1]))
        self._group.create_task(self.bootstrap.keep(self.core.book))
        self._group.create_task(self._measuring.run())
        freshness = Freshness(self.endpoint.use_certificate, self.local.clock_ms, self.outreach.candidates)
        self._group.create_task(freshness.run())
        self._group.create_task(self._upkeep.run())
        self._group.create_task(self._rounds.run())
        self._group.create_task(self.presence.run(lambda: bool(self.core.overlay.neighbours), self.wait_changed))

    async def _live(self) -> None:
        """Wait until the node is to end; nothing is begun any more after that."""
        try:
            await self._stop.wait()
            await self._take_leave()
        finally:
            self._ended = True
            self.holding.close()

    def stop(self) -> None:
        """Ask the node to end; `run` returns once everything is closed."""
        self._stop.set()

    def watch(self, watcher: Callable[[Commit], None]) -> Callable[[], None]:
        """Call the watcher after every commit, on the loop; returns what ends that."""
        self._watchers.add(watcher)
        return lambda: self._watchers.discard(watcher)

    def report(self, event: events.Event) -> None:
        """Give an event to the core and perform what it decides; once the node has ended nothing follows."""
        if self._ended:
            return
        if isinstance(event, events.Ticked):
            self._timer = None
        if isinstance(event, events.SyncEnded) and event.report is not None and event.link in self.links:
            source = self.links[event.link].node
            self._spawn(self.recovery.after_session(source, event.report.changes_received))
        self._reported.append(event)
        if len(self._reported) > 1:  # an effect being performed led to it: its turn comes after the others
            return
        try:
            while self._reported:
                for effect in self.core.handle(self._reported[0], self._loop.time()):
                    self._perform(effect)
                for listener in self._listeners:
                    listener(self._reported[0])
                self._reported.popleft()
        finally:
            self._reported.clear()
        self._arm()
        self._changed.set()
        self._changed = asyncio.Event()

    def on_event(self, listener: Callable[[events.Event], None]) -> None:
        """Call the listener after every event the core has handled, as long as the node runs; it must not report."""
        self._listeners.append(listener)

    async def wait_changed(self) -> None:
        """Return after the next event the core has handled; look at its state then."""
        await self._changed.wait()

    def addresses(self) -> list[tuple[str, int]]:
        """Return the addresses at which others may reach this node, best first."""
        return [(one.host, one.port) for one in self.outreach.candidates()]

    async def connect(self, target: Target) -> NodeId:
        """Dial a target now and return who answered; raises what went wrong."""
        return await self._meeting.connect(target)

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Do work inside the node's TaskGroup; it ends with the node."""
        self._spawn(work)

    # --- effects -------------------------------------------------------------------------------------------------

    def _perform(self, effect: events.Effect) -> None:
        match effect:
            case events.Dial(target):
                self._spawn(self._meeting.dial(target))
            case events.GiveUp(node):
                self._meeting.trying.give_up(node)
            case events.Close(link, fault, reason):
                if (found := self.links.get(link)) is not None:
                    found.connection.close(fault, reason)
            case events.Synchronise(link):
                if (found := self.links.get(link)) is not None:
                    self._spawn(found.synchronise())
            case events.Compare(link):
                if (found := self.links.get(link)) is not None:
                    self._spawn(found.compare_whole())
            case events.GossipSend(link, message):
                if (found := self.links.get(link)) is not None:
                    found.gossip_out.put(message)
            case events.Examine(link, id_, body):
                if (found := self.links.get(link)) is not None:
                    self._examiner.examine(found, id_, body)
                else:
                    self.report(events.Examined(id_, sound=False))
            case events.Introduce(link):
                if (found := self.links.get(link)) is not None:
                    self._spawn(self._meeting.introduce(found))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        if self._ended:
            work.close()
            return
        # One that is cancelled before its first step has not begun the work in it.
        self._group.create_task(_contained(work)).add_done_callback(lambda _: work.close())

    # --- what comes from elsewhere ---------------------------------------------------------------------------------

    def keeping_changed(self) -> None:
        """Tell the others soon that this device keeps other bodies than before, and fetch what is wanted back."""
        self._rounds.hasten()
        self._spawn(self.recovery.after_session(self.local.identity.node, 1))

    def _on_commit_elsewhere(self, commit: Commit) -> None:
        """Called on the writer's thread."""
        if not self._ended:
            self._loop.call_soon_threadsafe(self._on_commit, commit)

    def _on_commit(self, commit: Commit) -> None:
        if commit.written and self.links:
            public, exchange = self.local.cluster.public, self.local.cluster.exchange
            told = [segment for segment in commit.written if exchange.public and segment.space == public]
            frames = tuple(encode(segment) for segment in told)
            if frames:
                self.report(events.Written(frames))
            for segment in commit.written:
                space = SpaceId(segment.space)
                if space in self.local.cluster.sharing() and not self.topics.tell_change(space, encode(segment)):
                    self.report(events.SpaceStirred(space, ours=True))
        for watcher in list(self._watchers):
            watcher(commit)

    # --- time and end ------------------------------------------------------------------------------------------------

    async def _take_leave(self) -> None:
        """Tell the neighbours that this node ends, as far as they listen."""
        self._measuring.measure()
        self.presence.leave()
        self.report(events.Stopping())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVING_S):
                for link in list(self.links.values()):
                    await link.gossip_out.wait_sent()
        for link in list(self.links.values()):
            link.connection.close(Fault.SHUTDOWN, "the node there was stopped")

    def _arm(self) -> None:
        at = self.core.next_timer()
        if self._timer is not None:
            if self._timer_at == at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self.report, events.Ticked()) if at is not None else None
        self._timer_at = at


async def _contained(work: Coroutine[None, None, None]) -> None:
    """The one boundary: a defect met in work for one peer is recorded and harms no other."""
    try:
        await work
    except* Exception:  # noqa: BLE001 - see above
        _log.exception("work for a peer failed")
