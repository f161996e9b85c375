"""The addresses at which this node may be reached, from where its endpoint is bound and the machine's interfaces."""

from __future__ import annotations

import ipaddress

import ifaddr

from cis.model import Candidate

_PUBLIC_FIRST = {"direct": 0, "lan": 1}


def own_candidates(bound: tuple[str, int], external: tuple[str, int] | None) -> tuple[Candidate, ...]:
    """Return the candidates of an endpoint; one bound to all addresses has those of all interfaces.

    ``external`` is an address the user says it is reachable at, a router's that forwards to it.
    """
    stated = (Candidate(*external, "direct"),) if external is not None else ()
    host, port = bound
    address = ipaddress.ip_address(host)
    if not address.is_unspecified:
        return (*stated, Candidate(host, port, _path(address)))
    found = []
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            text = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            one = ipaddress.ip_address(text)
            if not (one.is_loopback or one.is_link_local or (one.version == 6 and address.version == 4)):
                found.append(Candidate(text, port, _path(one)))
    if not found:
        found.append(Candidate("127.0.0.1", port, "lan"))  # no network: nodes of this machine can still meet
    return (*stated, *sorted(found, key=lambda one: (_PUBLIC_FIRST[one.path], ":" in one.host, one.host)))


def _path(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    return "direct" if address.is_global else "lan"
