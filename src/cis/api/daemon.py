"""The daemon: one node with its network and its control socket, until it is asked to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import TYPE_CHECKING, Any

from cis.api.configuration.acting import exchange_of, options_of, take_up
from cis.api.configuration.reload_schema import ReloadSettings
from cis.api.configuration.reloading import Reloading, on_hang_up
from cis.api.configuration.settings import Settings, load
from cis.api.control.control_http import ControlServer
from cis.api.control.control_socket import bind_control
from cis.api.control.server import control_server
from cis.api.embedded import EmbeddedNode
from cis.api.end_watch import EndWatch
from cis.api.ending import NO_TERMS, Ended, Terms, require_possible
from cis.api.health.doctor_schema import GetTrust
from cis.api.health.explaining import RestingWhy, RunningWhy
from cis.api.health.glance import GlanceOperations
from cis.api.health.why_schema import ExplainMemory
from cis.api.membership.access import AccessOperations
from cis.api.membership.keeping import KeepingOperations
from cis.api.membership.pairing_schema import PairEvent, ShowCode, TakeCode
from cis.api.membership.revoking import RevokingOperations
from cis.api.membership.spaces import ROLES, SpaceNames, SpaceOperations
from cis.api.membership.tickets import TicketOperations
from cis.api.membership.trust_facts import trust_facts
from cis.api.membership.trust_schema import KeepSpace, RevokeMember
from cis.api.membership.trusting import TrustOperations
from cis.api.memories.elsewhere import NO_SOCKET
from cis.api.memories.memory_schema import WatchMemories
from cis.api.memories.search_options import search_options_of
from cis.api.memories.watching import Feed, WatchOperations
from cis.api.operations import (
    REQUESTS,
    bootstrap_handlers,
    dht_handlers,
    network_handlers,
    reach_handlers,
    telemetry_handlers,
    trust_handlers,
)
from cis.api.peers.bootstrap_telling import Telling
from cis.api.peers.bootstrapping import RunningBootstrap
from cis.api.peers.connections import ConnectionOperations
from cis.api.peers.dht import DhtOperations
from cis.api.peers.listening import TopicOperations
from cis.api.peers.netchecking import NetcheckOperations
from cis.api.peers.network import NetworkOperations
from cis.api.peers.network_schema import GetStatus, Invite, Invited, NodeStatus, StopNode, Stopping
from cis.api.peers.peering import PeerOperations
from cis.api.peers.sync_status import SyncStatusOperations
from cis.api.telemetry.latency import LatencyOperations
from cis.api.telemetry.statistics import StatisticsOperations
from cis.api.telemetry.topology import TopologyOperations
from cis.crdt import Policy
from cis.discovery.address import join_endpoint, split_endpoint
from cis.errors import CisError, Unavailable, UsageError
from cis.node.driver import Driver
from cis.node.entry.joining import Admitted, move_into
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.node.home.unlocking import unlock
from cis.node.process import prepare_process
from cis.trust import Ticket

if TYPE_CHECKING:
    from cis.api.membership.pairing import PairRequest
    from cis.api.telemetry.monitoring import Monitoring

_log = logging.getLogger(__name__)

INVITE_S_MAX = 7 * 86_400.0
THREADS_MAX = 64
"""Requests that block at once; more wait."""


def run_daemon(
    home: Home,
    settings: Settings,
    on_ready: Callable[[NodeStatus], None],
    terms: Terms = NO_TERMS,
    telling: Telling | None = None,
    flags: Mapping[str, object] | None = None,
) -> Ended:
    """Run the node of a home until SIGINT, SIGTERM, `StopNode` or what the terms say, and return which.

    ``flags`` are those the settings were loaded with, for when they are loaded again.
    Raises `UsageError` where there is no node or the terms cannot come true, `Unavailable` when one runs already or the
    port is taken.
    """
    if not home.exists:
        raise UsageError(f"there is no node in {home.folder} yet: run `cis init` first")
    require_possible(terms, networking=settings.p2p.enabled)
    prepare_process()
    identity = unlock(home)  # before anybody is let wait at the socket: it may ask
    listening = bind_control(home.socket)
    try:
        policy = Policy(settings.p2p.sync.conflict_resolution)
        with EmbeddedNode(LocalNode(home, identity), policy, search_options_of(settings)) as node:
            cluster = node.local.cluster
            cluster.acl, cluster.exchange = settings.p2p.acl.parsed(), exchange_of(settings)
            since = time.monotonic()

            while True:
                daemon = _Daemon(node, settings, flags, listening, on_ready, terms, since, telling)
                outcome = _run_once(daemon, home)
                if isinstance(outcome, Ended):
                    return outcome
                settings = daemon.reloading.settings
                acl, exchange = node.local.cluster.acl, node.local.cluster.exchange  # they may have changed since
                move_into(node.local, outcome)
                node.local.cluster.acl, node.local.cluster.exchange = acl, exchange
                listening = bind_control(home.socket)
    except BaseExceptionGroup as group:
        raise _first(group) from group
    finally:
        listening.close()


def _run_once(daemon: _Daemon, home: Home) -> Admitted | Ended:
    """Run until stopped; returns what the node is to move into, where it joined another cluster."""
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        runner.run(daemon.run())
    home.socket.unlink(missing_ok=True)  # while the store is still locked, so it is surely ours
    return daemon.admitted or daemon.ended or Ended(0, "stopped")


class _Daemon:
    """One run; ``since`` is when the first of this process began."""

    def __init__(
        self,
        node: EmbeddedNode,
        settings: Settings,
        flags: Mapping[str, object] | None,
        listening: socket.socket,
        on_ready: Callable[[NodeStatus], None],
        terms: Terms,
        since: float,
        telling: Telling | None,
    ) -> None:
        self._node = node
        self._terms = terms
        self._telling = telling
        self._since = since
        self._settings = settings
        self._flags = flags
        self._access = AccessOperations(node.local, self._on_access_changed)
        self.reloading = Reloading(node.local.home.config, settings, self._read_settings, self._take_up)
        self._listening = listening
        self._on_ready = on_ready
        self._began = time.monotonic()
        self._driver: Driver | None = None
        self.admitted: Admitted | None = None
        self.ended: Ended | None = None
        self._asides: list[asyncio.Task[None]] = []
        self._loop: asyncio.AbstractEventLoop
        self._feed: Feed
        self._glance: GlanceOperations
        self._monitoring: Monitoring | None = None
        self._server: ControlServer

    async def run(self) -> None:
        """Run until stopped."""
        self._loop = asyncio.get_running_loop()
        self._feed = Feed(self._node.local)
        if self._settings.p2p.enabled:
            self._driver = Driver(self._node.local, options_of(self._settings, self._node.local.home.folder))
        self._node.fetching.why_not = NO_SOCKET
        self._node.fetching.source = self._driver.holding if self._driver is not None else None
        self._glance = GlanceOperations(self._node, self._driver, self._own_problem)
        self._server = control_server(self._handlers())
        for number in (signal.SIGINT, signal.SIGTERM):
            why = Ended(0, f"stopped by {number.name}")
            self._loop.add_signal_handler(number, self._end, why)
        on_hang_up(
            self._loop, self.reloading.ask, lambda: self._end(Ended(0, "the terminal it was started in is gone"))
        )
        watch = EndWatch(self._terms, self._since, self._node.local, self._driver)
        ready = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            if self._driver is not None:
                group.create_task(self._driver.run(ready.set))
            else:
                ready.set()
            if self._settings.metrics.enabled:
                self._asides.append(group.create_task(self._monitor(ready.is_set)))
            await ready.wait()
            gc.freeze()  # what is loaded by now stays: a full collection that looks at it all holds the loop for 80 ms
            group.create_task(self._server.run_on(self._listening))
            self._on_ready(await self._glance.status(GetStatus()))
            self._asides.append(group.create_task(self._node.expiring.run(Random())))
            self._asides.append(group.create_task(self.reloading.run()))
            if self._terms != NO_TERMS:
                self._asides.append(group.create_task(self._end_by(watch)))
            if self._telling is not None and self._driver is not None:
                self._asides.append(group.create_task(self._telling.run(RunningBootstrap(self._driver).now)))

    async def _monitor(self, is_ready: Callable[[], bool]) -> None:
        """Serve pages for monitors until cancelled."""
        from cis.api.telemetry.monitoring import Monitoring  # noqa: PLC0415 - not loaded where it is turned off

        self._monitoring = Monitoring(self._node, self._driver, lambda: len(self._glance.problems()), is_ready)
        await self._monitoring.run(*split_endpoint(self._settings.metrics.listen))

    def _own_problem(self) -> dict[str, str]:
        metrics = self._monitoring.problem if self._monitoring is not None else ""
        found = {"metrics": metrics, "settings": self.reloading.problem}
        return {place: problem for place, problem in found.items() if problem}

    def stop(self) -> None:
        """End everything, in order."""
        for aside in self._asides:
            aside.cancel()
        self._feed.close()
        self._server.close()
        if self._driver is not None:
            self._driver.stop()

    def _end(self, why: Ended) -> None:
        self.ended = self.ended or why  # who stops what is ending already changes nothing
        self.stop()

    async def _end_by(self, watch: EndWatch) -> None:
        self._end(await watch.wait(self._feed))

    def _handlers(self) -> dict[type, Any]:
        node = self._node
        watching = WatchOperations(node.local, node.policy, node.readers, self._feed)
        trusting = TrustOperations(node.local, lambda: node.local.cluster.acl)
        why = RestingWhy(node.local, node.policy, node.readers, running=True)
        handlers: dict[type, Any] = {
            **dict.fromkeys(REQUESTS, _offline),
            **node.handlers,
            **trust_handlers(trusting, SpaceOperations(node.local), self._access, TicketOperations(node.local)),
            WatchMemories: watching.watch,
            ExplainMemory: why.explain,
            GetStatus: self._glance.status,
            StopNode: self._stop,
            ReloadSettings: self.reloading.reload,
            Invite: self._invite,
            ShowCode: self._pair,
            TakeCode: self._pair,
        }
        if self._driver is not None:
            driver = self._driver
            network = NetworkOperations(driver)
            topics, sync_status = TopicOperations(driver), SyncStatusOperations(driver)
            handlers |= network_handlers(network, PeerOperations(driver), topics, sync_status)
            handlers |= bootstrap_handlers(RunningBootstrap(driver))
            handlers |= reach_handlers(ConnectionOperations(driver), NetcheckOperations(driver, self._settings))
            handlers |= dht_handlers(DhtOperations(driver))
            handlers |= telemetry_handlers(
                TopologyOperations(driver), LatencyOperations(driver), StatisticsOperations(driver)
            )
            handlers[GetTrust] = lambda _: trust_facts(node.local, driver.skews_ms)
            handlers[ExplainMemory] = RunningWhy(driver, why).explain
            handlers[KeepSpace] = KeepingOperations(SpaceOperations(node.local), driver).keep
            handlers[RevokeMember] = RevokingOperations(trusting, network).revoke
        return handlers

    def _read_settings(self) -> Settings:
        """Called on a thread of its own."""
        settings = load(self._node.local.home.folder, self._flags)
        self._access.again()
        return settings

    def _take_up(self, before: Settings, settings: Settings) -> None:
        take_up(before, settings, self._node.local, self._driver)

    def _on_access_changed(self) -> None:
        """Called on the thread of a request."""
        if self._driver is not None:
            self._loop.call_soon_threadsafe(self._driver.judge_again)

    async def _stop(self, _: StopNode) -> Stopping:
        asyncio.get_running_loop().call_soon(self._end, Ended(0, "stopped by `cis down`"))
        return Stopping(os.getpid())

    def _pair(self, request: PairRequest) -> AsyncIterator[PairEvent]:
        if self._driver is None:
            raise Unavailable("this node opens no socket (p2p.enabled = false), so it cannot be paired")
        from cis.api.membership.pairing import PairingOperations  # noqa: PLC0415 - slow to load, and few nodes ever pair

        return PairingOperations(self._driver, self._settings, self._move).pair(request)

    def _move(self, admitted: Admitted) -> None:
        """End this run, so that the node goes on in the cluster it joined."""
        self.admitted = admitted
        asyncio.get_running_loop().call_soon(self.stop)

    async def _invite(self, request: Invite) -> Invited:
        if self._driver is None:
            raise Unavailable("this node opens no socket (p2p.enabled = false), so nobody could join it")
        if not 0 < request.expires_s <= INVITE_S_MAX:
            raise UsageError(f"a ticket of {request.expires_s:g} s: it lives up to {INVITE_S_MAX:g} s, a week")
        local, addresses = self._node.local, self._driver.addresses()
        life_ms = round(request.expires_s * 1000)
        spaces = tuple(map(SpaceNames(local).find, request.spaces)) or None

        def invite() -> Ticket:
            return local.cluster.invite(
                local.store, ROLES[request.role], request.name, life_ms, addresses, spaces=spaces
            )

        ticket = await asyncio.to_thread(invite)
        told = tuple(join_endpoint(host, port) for host, port in ticket.addresses)
        return Invited(ticket.to_text(), ticket.expires_ms, told)


def _new_loop() -> asyncio.AbstractEventLoop:
    """Return a loop whose threads are many: those who ask wait in them for disks and models, and the network goes on.

    It is uvloop's, which moves twice as much over QUIC; that does not exist for Windows.
    """
    try:
        import uvloop  # noqa: PLC0415 - absent on Windows
    except ImportError:
        loop = asyncio.new_event_loop()
    else:
        loop = uvloop.new_event_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS_MAX, "cis-work"))
    return loop


def _offline(_: object) -> None:
    """Answer what only a node with a network can."""
    raise Unavailable(
        "this node opens no socket (p2p.enabled = false): "
        "cis config set p2p.enabled true, then cis down; cis up --detach"
    )


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one error to tell of: ours, if there is one."""
    found = group
    ours, _ = found.split(CisError)
    current: BaseException = ours if ours is not None else group
    while isinstance(current, BaseExceptionGroup):
        current = current.exceptions[0]
    return current
