"""What to type about a problem that a node tells of, by where it is."""

from __future__ import annotations

from collections.abc import Mapping

_REMEDIES: Mapping[str, str] = {
    "this node": "an admin's `cis invite`, then `cis join` here",
    "an incoming connection": "cis acl show says who is let in; `cis invite` lets a device join",
    "metrics": "cis config set metrics.listen HOST:PORT, then cis down; cis up --detach",
    "disk": "make room where the home lies: df -h, then cis doctor",
    "embedding": "cis memory model",
    "mdns": "cis p2p netcheck; cis config set p2p.discovery.enable_mdns false where it is not wanted",
    "dht": "cis p2p dht status; cis p2p netcheck",
    "libp2p": "cis doctor",
    "anchor": "cis p2p netcheck says whether it answers; cis config get p2p.cloud_anchor.endpoint",
    "plugin": "cis doctor names the plugin; the log says more",
    "transport": "cis doctor names the plugin; the log says more",
    "ICE": "cis p2p netcheck says what the network lets through",
}
_ADDRESS = "cis p2p peers shows whose address that is; cis p2p connect NAME tries it now"
_OTHER = "cis doctor"


def remedy_of(place: str) -> str:
    """Return what to type about a problem at a place, as `NodeStatus.problems` names them."""
    if (found := _REMEDIES.get(place)) is not None:
        return found
    kind = place.partition(" ")[0]
    if kind in _REMEDIES:
        return _REMEDIES[kind]
    return _ADDRESS if ":" in place else _OTHER
