"""``cis p2p netcheck``: everything that can be measured of the network here, at once, from sockets of its own.

The running node is asked so that what it holds is told too, a forwarded port above all; without one the same is
measured by the settings alone. Nothing is mapped and no relay is kept: servers and the router are only asked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import ifaddr
import msgspec

from cis.anchor.place import AnchorPlace
from cis.api.configuration.settings import Settings, load
from cis.api.control.client import connect_daemon
from cis.api.peers.anchoring import places_of
from cis.api.peers.reach_schema import CheckNetwork, NetReport, PortMapping
from cis.api.peers.reaching import reach_options
from cis.discovery.address import join_endpoint
from cis.errors import CisError, Fault, Unavailable, UsageError
from cis.net import Certificate, Connection, Endpoint
from cis.node.driver import Driver
from cis.node.home.folder import Home
from cis.reach.findings import Netcheck, ServerFinding, name_of, outlook
from cis.reach.names import Names
from cis.reach.options import ReachOptions, TurnServer
from cis.reach.portmap import PortmapFacts, default_gateway
from cis.reach.portmap.mapper import clients_of
from cis.reach.portmap.values import NoAnswer, PortmapClient, Refused

SERVER_S = 5.0
"""How long relays, anchors and the router are waited for."""
NO_SOCKET = "this node opens no socket (p2p.enabled = false), so there is no network to check"


def netcheck(home: Path) -> NetReport:
    """Measure through the running node of a home, else by its settings alone."""
    node = connect_daemon(home)
    if node is not None:
        with node:
            return node.call(CheckNetwork())
    if not Home(home).exists:
        raise UsageError(f"there is no node in {home} yet: run `cis init` first")
    settings = load(home)
    if not settings.p2p.enabled:
        raise Unavailable(NO_SOCKET)
    return asyncio.run(check_network(settings, None))


class NetcheckOperations:
    """Measures on the loop of the running node."""

    def __init__(self, driver: Driver, settings: Settings) -> None:
        self._driver = driver
        self._settings = settings
        self._turn = asyncio.Lock()

    async def check(self, _: CheckNetwork) -> NetReport:
        """Measure; one at a time, since two would disturb each other."""
        async with self._turn:
            mapper = self._driver.outreach.mapper
            return await check_network(self._settings, mapper.facts() if mapper is not None else None)


async def check_network(settings: Settings, held: PortmapFacts | None) -> NetReport:
    """Measure everything at once; ``held`` is what the running node knows of the router."""
    options, names = reach_options(settings), Names()
    async with asyncio.TaskGroup() as group:
        measuring = group.create_task(_examine(settings.p2p.listen_address, options))
        relays = [group.create_task(_relay(server, names)) for server in options.turn_servers]
        anchors = [group.create_task(_anchor(place)) for place in places_of(settings)]
        router = group.create_task(_router(settings.p2p.listen_port)) if held is None else None
    gateway, mappings = router.result() if router is not None else _held(held)
    forwarded = _forwarded(held)
    measured, turn = measuring.result(), [task.result() for task in relays]
    servers = (*measured.servers, *turn, *(task.result() for task in anchors))
    return NetReport(
        measured=msgspec.structs.replace(measured, servers=servers),
        nat_name=name_of(measured.nat.mapping, measured.nat.filtering) if measured.nat.mapping is not None else "",
        gateway=gateway,
        port_mapping=mappings,
        mapping_used=options.upnp,
        forwarded=forwarded,
        relay=any(one.latency_ms is not None for one in turn) if turn else None,
        outlook=outlook(measured.nat, udp=measured.udp, forwarded=forwarded is not None),
    )


async def _examine(host: str, options: ReachOptions) -> Netcheck:
    from cis.reach.netcheck import Ear, examine  # noqa: PLC0415 - loads aioice, which a node at rest does without

    async with await _open(host) as first, await _open(host) as second:
        return await examine(Ear(first), Ear(second), options.stun_servers, _own_hosts())


async def _open(host: str) -> Endpoint:
    def refuse(connection: Connection) -> None:
        connection.close(Fault.REFUSED, "")

    return await Endpoint.open(host, 0, Certificate.generate(), on_connection=refuse)


def _own_hosts() -> frozenset[str]:
    ips = (ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips)
    return frozenset(ip if isinstance(ip, str) else ip[0] for ip in ips)


# --- relays and anchors --------------------------------------------------------------------------------------------


class _Nowhere:
    def receive_via(self, carrier: Any, received: list[tuple[bytes, Any]]) -> None:  # noqa: ANN401 - as a Sink
        """Drop what comes."""


async def _relay(server: TurnServer, names: Names) -> ServerFinding:
    """Take an address of a relay and give it back."""
    from cis.reach.relay import open_relay  # noqa: PLC0415 - as above

    name = f"{join_endpoint(server.host, server.port)} over {server.transport.upper()}"

    async def allocate() -> None:
        await (await open_relay(server, names, _Nowhere())).close()

    return await _timed("turn", name, allocate)


async def _anchor(place: AnchorPlace) -> ServerFinding:
    """Connect as a node does, with its token and the certificates it trusts."""
    from cis.anchor.line import open_line  # noqa: PLC0415 - slow to load, and most nodes use no anchor

    async def greet() -> None:
        async with open_line(place):
            pass

    return await _timed("anchor", place.url, greet)


async def _timed(kind: Any, name: str, ask: Callable[[], Awaitable[None]]) -> ServerFinding:  # noqa: ANN401 - one of the kinds
    began = time.perf_counter()
    try:
        async with asyncio.timeout(SERVER_S):
            await ask()
    except TimeoutError:
        return ServerFinding(kind=kind, name=name, error=f"no answer within {SERVER_S:g} s")
    except CisError as error:
        return ServerFinding(kind=kind, name=name, error=str(error))
    return ServerFinding(kind=kind, name=name, latency_ms=round((time.perf_counter() - began) * 1000, 1))


# --- the router ----------------------------------------------------------------------------------------------------


async def _router(port: int) -> tuple[str | None, tuple[PortMapping, ...]]:
    """Ask the router by each protocol whether it maps ports, mapping none."""
    gateway = await default_gateway()
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(_probe(client)) for client in clients_of(gateway, port)]
    return (gateway.address if gateway is not None else None), tuple(task.result() for task in asking)


async def _probe(client: PortmapClient) -> PortMapping:
    began = time.perf_counter()
    try:
        async with asyncio.timeout(SERVER_S):
            await client.probe()
    except (TimeoutError, NoAnswer):
        return PortMapping(protocol=client.name, outcome="no answer")
    except (Refused, OSError) as error:
        return PortMapping(protocol=client.name, outcome="refused", detail=str(error))
    return PortMapping(protocol=client.name, outcome="ok", latency_ms=round((time.perf_counter() - began) * 1000, 1))


def _held(facts: PortmapFacts | None) -> tuple[str | None, tuple[PortMapping, ...]]:
    assert facts is not None, "asked only then"
    found = (
        PortMapping(
            protocol=one.protocol,
            outcome=one.outcome.value,
            latency_ms=round(one.latency_s * 1000, 1) if one.latency_s is not None else None,
            detail=one.detail,
        )
        for one in facts.protocols
    )
    return facts.gateway, tuple(found)


def _forwarded(facts: PortmapFacts | None) -> str | None:
    """Name what a router forwards; behind another NAT it is no public address, and helps nobody."""
    if facts is None or facts.mapping is None or facts.nat_above:
        return None
    mapping = facts.mapping
    return f"{mapping.host or 'its address'} port {mapping.port}, by {mapping.protocol}"
