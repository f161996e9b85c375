"""The running node: performs what `cis.node.core` decides, on one event loop, in one TaskGroup.

Commits come from the writer's thread before anything of them is sent. Each peer is served inside its own
boundary; what a peer does wrong ends its link and nothing else.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from cis.discovery.provider import Provider, Sighting
from cis.errors import CisError, Fault, PeerFault, Unavailable
from cis.model import Candidate, NodeId
from cis.net import Certificate, Connection, ConnectionLost, Endpoint, NetLimits
from cis.node import events
from cis.node.addresses import own_candidates
from cis.node.announcing import NodeAnnouncement
from cis.node.core import Core
from cis.node.events import LinkId
from cis.node.greeting import greet_as_dialler, greet_as_listener
from cis.node.joining import serve_join
from cis.node.links import PeerLink, Surroundings
from cis.node.local import LocalNode
from cis.node.memory_of_peers import load_peers, save_peers
from cis.node.records import RecordShelf
from cis.peers import PeerBook, Target
from cis.store.writer import Commit
from cis.trust import Authenticated, HandshakeKey, KeyUsed, Local
from cis.wire.messages import encode

_log = logging.getLogger(__name__)

SAVE_PEERS_S = 60.0
_BLAMED = frozenset(
    {Fault.MALFORMED, Fault.TOO_LARGE, Fault.BAD_SIGNATURE, Fault.BAD_HASH, Fault.UNAUTHORISED}
)
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


class _Stopped(Exception):  # noqa: N818 - it is no error: it unwinds the task group
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
        self.records = RecordShelf(local)
        self.skews_ms: dict[NodeId, int] = {}
        self.problems: dict[str, str] = {}
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
            options.host, options.port, Certificate.generate(), limits=options.limits, on_connection=self._on_incoming
        ) as self.endpoint:
            self.local.store.on_commit(self._on_commit_elsewhere)
            try:
                async with asyncio.TaskGroup() as self._group:
                    load_peers(self.local, self._sight)
                    for provider in options.providers:
                        self._group.create_task(self._provide(provider))
                    self._group.create_task(self._save_peers())
                    on_ready()
                    await self._stop.wait()
                    raise _Stopped
            except* _Stopped:
                pass
            finally:
                self._end()

    def stop(self) -> None:
        """Ask the node to end; `run` returns once everything is closed."""
        self._stop.set()

    def watch(self, watcher: Callable[[Commit], None]) -> Callable[[], None]:
        """Call the watcher after every commit, on the loop; returns what ends that."""
        self._watchers.add(watcher)
        return lambda: self._watchers.discard(watcher)

    def report(self, event: events.Event) -> None:
        """Give an event to the core and perform what it decides."""
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
        authenticated, connection = await self._authenticate(target)
        self._adopt(connection, authenticated.node, target)
        return authenticated.node

    # --- effects -------------------------------------------------------------------------------------------------

    def _perform(self, effect: events.Effect) -> None:
        match effect:
            case events.Dial(target):
                self._group.create_task(self._dial(target))
            case events.Close(link, fault, reason):
                if (found := self.links.get(link)) is not None:
                    found.connection.close(fault, reason)
            case events.Synchronise(link):
                if (found := self.links.get(link)) is not None:
                    self._group.create_task(found.synchronise())
            case events.Push(links, frames):
                for number in links:
                    if (found := self.links.get(number)) is not None:
                        found.push(frames)
            case events.Introduce(link):
                if (found := self.links.get(link)) is not None:
                    self._group.create_task(self._introduce(found))

    async def _dial(self, target: Target) -> None:
        try:
            await self.connect(target)
        except PeerFault as fault:
            pointless = fault.fault is Fault.SELF
            self.report(events.DialFailed(target, fault.detail, pointless))
            if not pointless:
                self._log_once(target, fault.detail)
        except ConnectionLost as lost:
            self.report(events.DialFailed(target, str(lost.reason)))
            self._log_once(target, str(lost.reason))
        except CisError as error:
            self.report(events.DialFailed(target, str(error)))

    async def _authenticate(self, target: Target) -> tuple[Authenticated, Connection]:
        connection = await self.endpoint.dial(target.host, target.port)
        key = HandshakeKey(self.local.cluster.keys.discovery)
        brought = self._brought(connection)
        outcome = await greet_as_dialler(connection, brought, key, target.node, self.local.entropy)
        return outcome, connection

    async def _introduce(self, link: PeerLink) -> None:
        try:
            await link.introduce()
            _, clock_ms = await link.ping()
            self.skews_ms[link.node] = clock_ms - self.local.clock_ms()
        except (CisError, TimeoutError):
            _log.debug("a peer could not be introduced to", exc_info=True)

    # --- connections -----------------------------------------------------------------------------------------------

    def _on_incoming(self, connection: Connection) -> None:
        self._group.create_task(self._welcome(connection))

    async def _welcome(self, connection: Connection) -> None:
        try:
            keys = self.local.cluster.handshake_keys()
            outcome = await greet_as_listener(connection, self._brought(connection), keys, self.local.entropy)
            if outcome.key_used is KeyUsed.TICKET and outcome.ticket_id is not None:
                name = await serve_join(self.local, connection, outcome.node, outcome.ticket_id)
                _log.info("%s joined the cluster", name)
                self.report(events.Learned())
            else:
                self._adopt(connection, outcome.node, None)
        except PeerFault as fault:
            self._log_once(None, fault.detail)
            connection.close(fault.fault, fault.detail if outcome_known(fault) else "")
        except (CisError, TimeoutError) as error:
            self._log_once(None, str(error))
            connection.close(Fault.REFUSED, "")

    def _adopt(self, connection: Connection, node: NodeId, via: Target | None) -> None:
        number = next(self._numbers)
        around = Surroundings(
            self.local, self.report, self._own_records, lambda raw: self._on_record(raw, number)
        )
        link = PeerLink(number, node, connection, around)
        self.links[link.id] = link
        self._group.create_task(self._serve(link))
        self.report(events.Connected(link.id, node, via))

    async def _serve(self, link: PeerLink) -> None:
        reason, blamed = "the node ended", False
        try:
            closed = await link.serve()
            reason, blamed = str(closed), not closed.by_peer and closed.fault in _BLAMED
        except* Exception as group:
            # The one boundary: a defect met while serving a peer ends that peer's link and is recorded.
            _log.exception("serving a peer failed")
            link.connection.close(Fault.INTERNAL, "internal error")
            reason = str(group.exceptions[0])
        finally:
            self.links.pop(link.id, None)
            if not self._stop.is_set():
                self.report(events.Lost(link.id, reason, blamed))

    def _brought(self, connection: Connection) -> Local:
        cluster = self.local.cluster
        membership = cluster.membership
        chain = membership.chain(self.local.identity.node)
        return Local(
            self.local.identity, cluster.id, connection.certificate_hash, chain, membership.digest(), membership.judge
        )

    # --- what comes from elsewhere ---------------------------------------------------------------------------------

    async def _provide(self, provider: Provider) -> None:
        try:
            await provider.run(NodeAnnouncement(self.local.cluster, self.local.identity.node, self._port), self._found)
        except Unavailable as error:
            self.problems[provider.name] = str(error)
            _log.warning("%s does not work here: %s", provider.name, error)

    def _found(self, sighting: Sighting) -> None:
        node = sighting.node
        if node is None and sighting.name is not None:
            member = next((m for m in self.local.cluster.membership.members() if m.name == sighting.name), None)
            node = member.node if member is not None else None
        self._sight(Target(node, sighting.host, sighting.port, sighting.source.value))

    def _sight(self, target: Target) -> None:
        self.report(events.Sighted(target))

    def _on_record(self, raw: bytes, teller: LinkId) -> None:
        """Dial what a record names, and tell the others of it, once."""
        targets = self.records.take(raw, self.endpoint.address)
        if targets is not None:
            for target in targets:
                self._sight(target)
            for link in self.links.values():
                if link.id != teller:
                    self._group.create_task(self._introduce(link))

    def _own_records(self) -> list[bytes]:
        return self.records.to_send(self._candidates())

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
        if commit.merged:
            self.report(events.Learned())
        for watcher in list(self._watchers):
            watcher(commit)

    async def _save_peers(self) -> None:
        while True:
            try:
                async with asyncio.timeout(SAVE_PEERS_S):
                    await self._stop.wait()
                return
            except TimeoutError:
                save_peers(self.local, self.core.book)

    # --- time and end ------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        at = self.core.next_timer()
        self._timer = self._loop.call_at(at, self._tick) if at is not None and not self._stop.is_set() else None

    def _tick(self) -> None:
        if not self._stop.is_set():
            self.report(events.Ticked())

    def _candidates(self) -> tuple[Candidate, ...]:
        return own_candidates(self.endpoint.address, self.options.external)

    def _port(self) -> int:
        return self.endpoint.address[1]

    def _log_once(self, target: Target | None, reason: str) -> None:
        """Say a refusal the first time it occurs; `problems` keeps the last of each kind for status."""
        where = f"{target.host}:{target.port}" if target is not None else "an incoming connection"
        if self.problems.get(where) != reason:
            self.problems[where] = reason
            _log.warning("%s: %s", where, reason)

    def _end(self) -> None:
        self._stop.set()
        if self._timer is not None:
            self._timer.cancel()
        save_peers(self.local, self.core.book)


def outcome_known(fault: PeerFault) -> bool:
    """Tell whether the dialler was proven when the fault arose, so that it may read why."""
    return fault.fault is not Fault.REFUSED
