"""How the DHT node is set up, and what libtorrent is told by it: a DHT alone, no torrents and nothing of their like.

libtorrent's defaults suit the public network: nodes whose id does not go with their address (BEP 42), and several at
one address, are kept out of the routing table and of searches. A network of one's own has just those, so a private
one lets them in. A node that does not answer is dropped at the second failure instead of the twentieth: a dead node
near the target holds up every lookup.
"""

from __future__ import annotations

import importlib.util
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ifaddr

from cis.discovery.address import join_endpoint
from cis.errors import Unavailable

PUBLIC_BOOTSTRAP = (
    ("router.bittorrent.com", 6881),
    ("dht.transmissionbt.com", 6881),
    ("router.utorrent.com", 6881),
    ("dht.libtorrent.org", 25401),
)
"""Where the public network is entered where the user names nothing else."""
IPV6 = 6
DHT_PORT_DEFAULT = 6881
"""The port of entry points that name none."""
INSTALL = "pip install 'cis-node[dht]'"
UPLOAD_BYTES_PER_S = 8_000
"""What the DHT node answers and asks at most; an idle one sends some 100 B/s."""
PRIVATE_UPLOAD_BYTES_PER_S = 100_000
ITEMS_MAX = 700
"""Items kept for others at most, about a megabyte."""
ADDRESSES_MAX = 16
"""Addresses of this machine that a node of a private network listens on at most."""
_OFF = (
    "enable_dht",
    "enable_lsd",
    "enable_upnp",
    "enable_natpmp",
    "enable_ip_notifier",
    "enable_incoming_tcp",
    "enable_outgoing_tcp",
    "enable_incoming_utp",
    "enable_outgoing_utp",
)


@dataclass(frozen=True)
class DhtOptions:
    """What the settings decide about the DHT node.

    ``host`` is the address to listen on, a wildcard for all; ``port`` 0 is any. ``bootstrap`` are entry points of one's
    own, asked before the public ones, which are used only where ``public`` is true. A ``read_only`` node asks, and
    answers nobody (BEP 43). ``state`` is the file in which known nodes are kept between runs.
    """

    host: str = "0.0.0.0"  # noqa: S104 - a wildcard stands for the addresses of this machine
    port: int = 0
    bootstrap: tuple[tuple[str, int], ...] = ()
    public: bool = True
    read_only: bool = False
    state: Path | None = None


def installed() -> bool:
    """Tell whether libtorrent is there, without loading it."""
    return importlib.util.find_spec("libtorrent") is not None


def load_libtorrent() -> Any:  # noqa: ANN401 - a module without types
    """Return the library; `Unavailable` with what to install where it is missing."""
    try:
        import libtorrent  # noqa: PLC0415 - costs 10 MB, only where the DHT is turned on
    except ImportError as error:
        raise Unavailable(f"the DHT needs libtorrent, which is not here ({error}): {INSTALL}") from error
    return libtorrent


def places_to_listen(options: DhtOptions) -> list[tuple[str, int]]:
    """Return addresses and ports to bind.

    On the public network libtorrent finds out by itself which addresses lead there. In a private one every address of
    the machine may, and those of loopback where an entry point is there.
    """
    asked = ipaddress.ip_address(options.host)
    if not asked.is_unspecified:
        return [(options.host, options.port)]
    wildcards = ["0.0.0.0", "::"] if asked.version == IPV6 else ["0.0.0.0"]  # noqa: S104 - as asked
    hosts = wildcards if options.public else _own_addresses(wildcards, options.bootstrap)
    return [(host, options.port) for host in hosts]


def _own_addresses(wildcards: list[str], bootstrap: tuple[tuple[str, int], ...]) -> list[str]:
    near = {ipaddress.ip_address(host).is_loopback for host, _ in bootstrap if _is_address(host)}
    found = [
        address
        for adapter in ifaddr.get_adapters()
        for entry in adapter.ips
        for address in [ipaddress.ip_address(entry.ip if isinstance(entry.ip, str) else entry.ip[0])]
        if not (address.is_unspecified or address.is_link_local) and (not address.is_loopback or True in near)
    ]
    return [str(one) for one in found if one.version != IPV6 or "::" in wildcards][:ADDRESSES_MAX]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def libtorrent_settings(options: DhtOptions, listen: list[tuple[str, int]], alerts: int) -> dict[str, Any]:
    """Return the settings of the library for a session that listens there; the DHT itself is turned on later."""
    settings: dict[str, Any] = dict.fromkeys(_OFF, False)
    settings |= {
        "listen_interfaces": ",".join(join_endpoint(host, port) for host, port in listen),
        "max_retry_port_bind": 0,
        "listen_system_port_fallback": False,
        "aio_threads": 1,
        "hashing_threads": 1,
        "alert_mask": alerts,
        "alert_queue_size": 2_000,
        "dht_bootstrap_nodes": "",
        "dht_read_only": options.read_only,
        "dht_max_fail_count": 2,
        "dht_max_dht_items": ITEMS_MAX,
        "dht_max_torrents": 100,
        "dht_upload_rate_limit": UPLOAD_BYTES_PER_S,
    }
    if options.public:
        settings["dht_bootstrap_nodes"] = ",".join(f"{host}:{port}" for host, port in PUBLIC_BOOTSTRAP)
    else:
        settings |= {
            "dht_restrict_routing_ips": False,
            "dht_restrict_search_ips": False,
            "dht_prefer_verified_node_ids": False,
            "dht_ignore_dark_internet": False,
            "dht_block_ratelimit": 1_000,
            "dht_upload_rate_limit": PRIVATE_UPLOAD_BYTES_PER_S,
        }
    return settings
