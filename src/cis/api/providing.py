"""The ways of finding nodes that the settings ask for, as providers for the node to run."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from cis.anchor.client import AnchorClient
from cis.api.settings import Settings
from cis.discovery.anchor import AnchorProvider
from cis.discovery.mdns import Mdns
from cis.discovery.provider import Provider
from cis.discovery.static import StaticPeers


def providers_of(settings: Settings, anchors: Iterable[AnchorClient]) -> list[Provider]:
    """Return all of them."""
    on_loopback = ip_address(settings.p2p.listen_address).is_loopback
    providers: list[Provider] = [StaticPeers(settings.p2p.peers.parsed())]
    if (nearby := mdns_of(settings)) is not None:
        providers.append(nearby)
    providers += [AnchorProvider(anchor, allow_loopback=on_loopback) for anchor in anchors]
    return providers


def mdns_of(settings: Settings) -> Mdns | None:
    """Return the provider for the local network, None where the settings turn it off."""
    discovery, host = settings.p2p.discovery, settings.p2p.listen_address
    if not discovery.enable_mdns:
        return None
    on_loopback = ip_address(host).is_loopback
    return Mdns(
        service=discovery.service_name,
        interval_s=discovery.broadcast_interval,
        interfaces=[host] if on_loopback else (),
        allow_loopback=on_loopback,
    )
