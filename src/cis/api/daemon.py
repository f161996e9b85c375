"""The daemon: one node with its network and its control socket, until it is asked to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from cis.api.control_socket import bind_control
from cis.api.embedded import EmbeddedNode
from cis.api.listening import TopicOperations
from cis.api.memory_schema import WatchMemories
from cis.api.network import NetworkOperations
from cis.api.network_schema import GetStatus, Invite, Invited, NodeStatus, StopNode, Stopping
from cis.api.operations import network_handlers
from cis.api.server import ControlServer, control_app
from cis.api.settings import Settings, inert
from cis.api.sync_status import SyncStatusOperations
from cis.api.watching import Feed, WatchOperations
from cis.crdt import Policy
from cis.discovery.address import join_endpoint, split_endpoint
from cis.discovery.mdns import Mdns
from cis.discovery.provider import Provider
from cis.discovery.static import StaticPeers
from cis.errors import CisError, Unavailable, UsageError
from cis.net import NetLimits
from cis.node.driver import Driver, NodeOptions
from cis.node.home import Home
from cis.node.local import LocalNode
from cis.wire.membership import Role

_log = logging.getLogger(__name__)

INVITE_S_MAX = 7 * 86_400.0


def run_daemon(home: Home, settings: Settings, on_ready: Callable[[NodeStatus], None]) -> None:
    """Run the node of a home until SIGINT, SIGTERM or `StopNode`.

    Raises `UsageError` where there is no node, `Unavailable` when one runs already or the port is taken.
    """
    if not home.exists:
        raise UsageError(f"there is no node in {home.folder} yet: run `cis init` first")
    listening = bind_control(home.socket)
    try:
        with EmbeddedNode(LocalNode.open(home), Policy(settings.p2p.sync.conflict_resolution)) as node:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(_Daemon(node, settings, listening, on_ready).run())
            home.socket.unlink(missing_ok=True)  # while the store is still locked, so it is surely ours
    except BaseExceptionGroup as group:
        raise _first(group) from group
    finally:
        listening.close()


class _Daemon:
    """One run."""

    def __init__(
        self, node: EmbeddedNode, settings: Settings, listening: socket.socket, on_ready: Callable[[NodeStatus], None]
    ) -> None:
        self._node = node
        self._settings = settings
        self._listening = listening
        self._on_ready = on_ready
        self._began = time.monotonic()
        self._static = StaticPeers(settings.p2p.peers.parsed())
        self._driver: Driver | None = None
        self._feed: Feed
        self._server: ControlServer

    async def run(self) -> None:
        """Run until stopped."""
        for key in inert(self._settings):
            _log.warning("the setting %s does not act yet in this version", key)
        self._feed = Feed(self._node.local)
        if self._settings.p2p.enabled:
            self._driver = Driver(self._node.local, options_of(self._settings, self._static))
        self._server = ControlServer(control_app(self._handlers()))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self.stop)
        ready = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            if self._driver is not None:
                group.create_task(self._driver.run(ready.set))
            else:
                ready.set()
            await ready.wait()
            group.create_task(self._server.run_on(self._listening))
            self._on_ready(await self._status(GetStatus()))

    def stop(self) -> None:
        """End everything, in order."""
        self._feed.close()
        self._server.close()
        if self._driver is not None:
            self._driver.stop()

    def _handlers(self) -> dict[type, Any]:
        node = self._node
        watching = WatchOperations(node.local, node.policy, node.readers, self._feed)
        handlers: dict[type, Any] = {
            **node.handlers,
            WatchMemories: watching.watch,
            GetStatus: self._status,
            StopNode: self._stop,
            Invite: self._invite,
        }
        if self._driver is not None:
            driver = self._driver
            handlers |= network_handlers(
                NetworkOperations(driver), TopicOperations(driver), SyncStatusOperations(driver)
            )
        return handlers

    async def _status(self, _: GetStatus) -> NodeStatus:
        resting = await asyncio.to_thread(self._node.status)
        driver, cluster = self._driver, self._node.local.cluster
        connected = sorted(cluster.name_of(node) for node in driver.core.connected()) if driver is not None else []
        problems = {**driver.problems, **self._static.failures()} if driver is not None else {}
        return NodeStatus(
            running=True,
            name=resting.name,
            did=resting.did,
            cluster=resting.cluster,
            role=resting.role,
            home=resting.home,
            version=resting.version,
            members=resting.members,
            memories=resting.memories,
            pid=os.getpid(),
            uptime_s=round(time.monotonic() - self._began, 3),
            listen=join_endpoint(*driver.endpoint.address) if driver is not None else None,
            networking=driver is not None,
            connected=tuple(connected),
            problems=problems,
        )

    async def _stop(self, _: StopNode) -> Stopping:
        asyncio.get_running_loop().call_soon(self.stop)
        return Stopping(os.getpid())

    async def _invite(self, request: Invite) -> Invited:
        if self._driver is None:
            raise Unavailable("this node opens no socket (p2p.enabled = false), so nobody could join it")
        if not 0 < request.expires_s <= INVITE_S_MAX:
            raise UsageError(f"a ticket of {request.expires_s:g} s: it lives up to {INVITE_S_MAX:g} s, a week")
        local, addresses = self._node.local, self._driver.addresses()
        life_ms = round(request.expires_s * 1000)
        ticket = await asyncio.to_thread(
            local.cluster.invite, local.store, Role.WRITER, request.name, life_ms, addresses
        )
        told = tuple(join_endpoint(host, port) for host, port in ticket.addresses)
        return Invited(ticket.to_text(), ticket.expires_ms, told)


def options_of(settings: Settings, static: StaticPeers) -> NodeOptions:
    """Return what the settings mean for the driver."""
    p2p = settings.p2p
    on_loopback = ip_address(p2p.listen_address).is_loopback
    providers: list[Provider] = [static]
    if p2p.discovery.enable_mdns:
        providers.append(
            Mdns(
                service=p2p.discovery.service_name,
                interval_s=p2p.discovery.broadcast_interval,
                interfaces=[p2p.listen_address] if on_loopback else (),
                allow_loopback=on_loopback,
            )
        )
    pool = p2p.connection_pool
    external = None if p2p.external_address == "auto" else split_endpoint(p2p.external_address)
    return NodeOptions(
        host=p2p.listen_address,
        port=p2p.listen_port,
        external=external,
        sync_interval_s=p2p.sync.interval,
        collects=p2p.sync.collect_history,
        limits=NetLimits(
            connections_max=pool.max_connections, idle_timeout_s=pool.idle_timeout, keepalive_s=pool.keepalive_interval
        ),
        providers=tuple(providers),
    )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's, which moves twice as much over QUIC; it does not exist for Windows."""
    try:
        import uvloop  # noqa: PLC0415 - absent on Windows
    except ImportError:
        return None
    return uvloop.new_event_loop


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one error to tell of: ours, if there is one."""
    found = group
    ours, _ = found.split(CisError)
    current: BaseException = ours if ours is not None else group
    while isinstance(current, BaseExceptionGroup):
        current = current.exceptions[0]
    return current
