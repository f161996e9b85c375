"""How routers translate addresses: each kind as its rules for nftables, with its names from RFC 4787.

Linux keeps a host's port where it is free, and gives one source one mapping whatever it talks to (its search for an
earlier mapping of the same source), so plain masquerading maps endpoint-independently and filters by address and
port. The kinds that let strangers in learn the mappings as packets leave, in a map from the outer port to the inner
address and port, and undo them for what arrives.

| kind | mapping | filtering |
|---|---|---|
| full | endpoint-independent | endpoint-independent |
| arc | endpoint-independent | address-dependent |
| cone | endpoint-independent | address- and port-dependent |
| sym | address- and port-dependent, ports at random | address- and port-dependent |
| blocked | no UDP passes | |

A router never answers unsolicited UDP itself: it drops it. (One that refuses it by ICMP remembers the stranger's
flow, and the host's own packet towards that stranger then gets another port: punching fails.)
"""

from __future__ import annotations

from enum import Enum


class Nat(Enum):
    """Kinds of routers."""

    FULL = "full"
    ARC = "arc"
    CONE = "cone"
    SYM = "sym"
    BLOCKED = "blocked"

    @property
    def maps_alike(self) -> bool:
        """Whether a host's port has one outer port, whomever it talks to."""
        return self in {Nat.FULL, Nat.ARC, Nat.CONE}


_MAPPED = "meta l4proto udp dnat ip to udp dport map @inner"
_INBOUND = {
    Nat.FULL: f'iifname "wan" {_MAPPED}',
    Nat.ARC: f'iifname "wan" udp dport . ip saddr @spoken {_MAPPED}',
}
_OUTBOUND = {Nat.SYM: 'oifname "wan" meta l4proto udp masquerade random,fully-random'}
_FORWARD = {Nat.BLOCKED: "meta l4proto udp drop"}


def nat_rules(kind: Nat, wan: str, *, hairpin: bool = False) -> str:
    """Return the rules of a router with interfaces ``lan`` and ``wan``, whose outer address is ``wan``.

    With ``hairpin``, hosts inside reach each other by their outer addresses, and see them (RFC 4787 REQ-9).
    """
    inward, turned = _INBOUND.get(kind, ""), ""
    if hairpin:
        inward += f'\n  iifname "lan" ip daddr {wan} {_MAPPED}'
        turned = f'oifname "lan" ct status dnat meta l4proto udp snat to {wan}'
    return f"""
table ip nat {{
 map inner {{ type inet_service : ipv4_addr . inet_service; flags dynamic,timeout; timeout 180s; size 65535; }}
 set spoken {{ type inet_service . ipv4_addr; flags dynamic,timeout; timeout 180s; size 65535; }}
 chain prerouting {{
  type nat hook prerouting priority -100;
  {inward}
 }}
 chain postrouting {{
  type nat hook postrouting priority 100;
  {_OUTBOUND.get(kind, "")}
  oifname "wan" masquerade
  {turned}
 }}
 chain learn {{
  type filter hook postrouting priority 200;
  oifname != "wan" accept
  meta l4proto != udp accept
  update @spoken {{ udp sport . ip daddr }}
  ct direction original update @inner {{ udp sport : ct original ip saddr . ct original proto-src }}
  ct direction reply update @inner {{ udp sport : ct reply ip saddr . ct reply proto-src }}
 }}
 chain forward {{
  type filter hook forward priority 0; policy drop;
  {_FORWARD.get(kind, "")}
  iifname "lan" accept
  ct state established,related accept
  ct status dnat accept
 }}
 chain input {{
  type filter hook input priority 0; policy drop;
  iifname "wan" ct state new drop
  iifname "lo" accept
  iifname "lan" fib daddr . iif type {{ local, multicast, broadcast }} accept
  ct state established,related accept
 }}
}}
"""


def counting_rules(interface: str) -> str:
    """Return rules that count what passes an interface, by the other side's address, protocol and port."""
    chains = "".join(
        f"""
 chain {name} {{
  type filter hook {hook} priority {priority};
  {direction} "{interface}" meta l4proto {{ tcp, udp }} add @{name} {{ ip {side}addr . meta l4proto . th {side}port }}
 }}"""
        for name, hook, priority, direction, side in (
            ("received", "prerouting", -310, "iifname", "s"),
            ("sent", "postrouting", 310, "oifname", "d"),
        )
    )
    sets = "".join(
        f"\n set {name} {{ type ipv4_addr . inet_proto . inet_service; flags dynamic; counter; size 65535; }}"
        for name in ("received", "sent")
    )
    return f"table ip traffic {{{sets}{chains}\n}}"
