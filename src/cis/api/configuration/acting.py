"""What the settings mean to the rooms below: the one place where keys become their options."""

from __future__ import annotations

from dataclasses import replace
from datetime import time
from pathlib import Path
from typing import TYPE_CHECKING

from cis.api.peers.anchoring import anchors_of
from cis.api.peers.providing import providers_of
from cis.api.peers.reaching import reach_options
from cis.api.peers.transporting import transports_of
from cis.api.telemetry.logs import set_up_logging
from cis.discovery.address import split_endpoint
from cis.discovery.static import StaticPeers
from cis.gossip.config import GossipConfig, TreeConfig
from cis.net import Bandwidth, NetLimits, OffPeak, Shares
from cis.node.core.pool import PoolLimits
from cis.node.driver import Driver, NodeOptions
from cis.node.home.local import LocalNode
from cis.node.membership.exchange import Exchange, Turn
from cis.node.retuning import retune

if TYPE_CHECKING:
    from cis.api.configuration.settings import Settings

KB = 1024
SILENT_KEEPALIVES = 3
"""A connection on which so many in a row went unanswered is dead."""
NEWCOMERS_MAX = 8
"""Connections beyond those of the pool, for which room is made, or which are turned away, once it is known whose."""
_TURNS = {"high": Turn.FIRST, "normal": Turn.ANY, "low": Turn.LAST}


def options_of(settings: Settings, folder: Path) -> NodeOptions:
    """Return what the settings mean for the driver of the node in a home."""
    anchors = anchors_of(settings)
    return replace(
        _own_options(settings),
        providers=tuple(providers_of(settings, anchors, folder)),
        anchors=tuple(anchors),
        transports=tuple(transports_of(settings, anchors, folder)),
    )


def take_up(before: Settings, settings: Settings, local: LocalNode, driver: Driver | None) -> None:
    """Let settings hold in a running node in place of others, as far as it can; its access list aside."""
    local.cluster.exchange = exchange_of(settings)
    if settings.log != before.log:
        set_up_logging(settings.log.level, settings.log.format)
    if driver is not None:
        retune(driver, _own_options(settings))
        for provider in driver.options.providers:
            if isinstance(provider, StaticPeers) and settings.p2p.peers != before.p2p.peers:
                provider.replace(settings.p2p.peers.parsed())


def _own_options(settings: Settings) -> NodeOptions:
    """Return what the settings mean, but for what is opened to find and reach others."""
    p2p = settings.p2p
    external = None if p2p.external_address == "auto" else split_endpoint(p2p.external_address)
    limits = p2p.limits
    tree = TreeConfig(seen_max=limits.gossip_seen, seen_s=limits.gossip_age_seconds, hops_max=limits.gossip_hops)
    return NodeOptions(
        host=p2p.listen_address,
        port=p2p.listen_port,
        external=external,
        sync_interval_s=p2p.sync.interval,
        collects=p2p.sync.collect_history,
        limits=net_limits_of(settings),
        bandwidth=bandwidth_of(settings),
        pool=PoolLimits(p2p.connection_pool.max_connections, p2p.connection_pool.idle_timeout),
        links_per_node=limits.connections_per_peer,
        ban_s=limits.ban_minutes * 60,
        gossip=GossipConfig(tree=tree),
        reach=reach_options(settings),
    )


def net_limits_of(settings: Settings) -> NetLimits:
    """Return what the settings allow an endpoint and each of its connections."""
    pool, limits = settings.p2p.connection_pool, settings.p2p.limits
    return NetLimits(
        handshake_timeout_s=limits.handshake_seconds,
        idle_timeout_s=SILENT_KEEPALIVES * pool.keepalive_interval,
        keepalive_s=pool.keepalive_interval,
        connections_max=pool.max_connections + NEWCOMERS_MAX,
        connections_per_address_max=limits.connections_per_address,
        unauthenticated_max=limits.unauthenticated_connections,
        retry_above=limits.retry_above,
        streams_max=limits.streams_per_connection,
        buffered_per_connection_max_bytes=limits.buffered_per_peer_mib << 20,
        buffered_in_all_max_bytes=limits.buffered_mib << 20,
    )


def bandwidth_of(settings: Settings) -> Bandwidth:
    """Return how much of the line may be used; a KB is 1024 bytes."""
    said, hours = settings.p2p.bandwidth, settings.p2p.bandwidth.off_peak
    limits = (said.upload_limit, said.download_limit, said.peer_upload_limit, said.peer_download_limit)
    off_peak = None
    if hours.start is not None and hours.end is not None:
        start, end = time.fromisoformat(hours.start), time.fromisoformat(hours.end)
        off_peak = OffPeak(start, end, hours.upload_limit * KB, hours.download_limit * KB)
    return Bandwidth(Shares(*(limit * KB for limit in limits)), off_peak, said.lan_exempt)


def exchange_of(settings: Settings) -> Exchange:
    """Return how spaces are exchanged."""
    sync = settings.p2p.sync
    return Exchange(
        changesets_per_frame=sync.batch_size,
        beyond_max=settings.p2p.limits.reordered_per_replica,
        public=sync.public_memory.enabled,
        public_turn=_TURNS[sync.public_memory.priority],
    )
