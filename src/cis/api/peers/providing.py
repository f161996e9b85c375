"""The ways of finding nodes that the settings ask for, as providers for the node to run."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from cis.anchor.client import AnchorClient
from cis.api.configuration.settings import Settings
from cis.discovery.address import split_endpoint
from cis.discovery.anchor import AnchorProvider
from cis.discovery.dht.options import DHT_PORT_DEFAULT, DhtOptions
from cis.discovery.dht.provider import DhtProvider
from cis.discovery.plugins import plugins_of
from cis.discovery.provider import Provider
from cis.discovery.static import StaticPeers

if TYPE_CHECKING:
    from cis.discovery.libp2p.provider import Libp2pProvider
    from cis.discovery.mdns import Mdns

DHT_NODES = "dht-nodes.txt"
"""The file in a node's home of the nodes of the DHT that it knew."""


def providers_of(settings: Settings, anchors: Iterable[AnchorClient], folder: Path) -> list[Provider]:
    """Return all of them; ``folder`` is the node's home."""
    on_loopback = ip_address(settings.p2p.listen_address).is_loopback
    providers: list[Provider] = [StaticPeers(settings.p2p.peers.parsed())]
    if (nearby := mdns_of(settings)) is not None:
        providers.append(nearby)
    providers += [AnchorProvider(anchor, allow_loopback=on_loopback) for anchor in anchors]
    if (table := dht_of(settings, folder)) is not None:
        providers.append(table)
    if (foreign := libp2p_of(settings)) is not None:
        providers.append(foreign)
    providers += plugins_of(settings.p2p.discovery.plugins, folder / "plugins", allow_loopback=on_loopback)
    return providers


def mdns_of(settings: Settings) -> Mdns | None:
    """Return the provider for the local network, None where the settings turn it off."""
    discovery, host = settings.p2p.discovery, settings.p2p.listen_address
    if not discovery.enable_mdns:
        return None
    from cis.discovery.mdns import Mdns  # noqa: PLC0415 - not loaded where it is turned off

    address = ip_address(host)
    return Mdns(
        service=discovery.service_name,
        interval_s=discovery.broadcast_interval,
        interfaces=() if address.is_unspecified else (host,),
        ipv6=address.version == 6,
        allow_loopback=address.is_loopback,
    )


def dht_of(settings: Settings, folder: Path) -> DhtProvider | None:
    """Return the provider for the Mainline DHT, None where the settings do not ask for it."""
    discovery, host = settings.p2p.discovery, settings.p2p.listen_address
    if not discovery.enable_dht:
        return None
    options = DhtOptions(
        host=host,
        port=discovery.dht_port,
        bootstrap=tuple(split_endpoint(text, DHT_PORT_DEFAULT) for text in discovery.bootstrap_nodes),
        public=discovery.dht_public_bootstrap,
        read_only=discovery.dht_read_only,
        state=folder / DHT_NODES,
    )
    return DhtProvider(options, allow_loopback=ip_address(host).is_loopback)


def libp2p_of(settings: Settings) -> Libp2pProvider | None:
    """Return the provider for libp2p's hash table, None where the settings do not ask for it."""
    libp2p, host = settings.p2p.discovery.libp2p, settings.p2p.listen_address
    if not libp2p.enabled:
        return None
    from cis.discovery.libp2p.options import Libp2pOptions  # noqa: PLC0415 - as above
    from cis.discovery.libp2p.provider import Libp2pProvider  # noqa: PLC0415 - as above

    return Libp2pProvider(
        Libp2pOptions(
            libp2p.bootstrap, libp2p.public_bootstrap, host, libp2p.port, allow_loopback=ip_address(host).is_loopback
        )
    )
