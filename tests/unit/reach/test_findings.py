"""What follows for peers from what was measured: worked out against a simulation of two NATs that try to meet."""

from __future__ import annotations

from itertools import product

import pytest

from cis.reach.findings import Filtering, Mapping, Nat, name_of, outlook

ALL = [Nat(mapping, filtering) for mapping, filtering in product((Mapping.ENDPOINT, Mapping.ADDRESS_PORT), Filtering)]
PEERS = {
    "behind a full cone NAT": Nat(Mapping.ENDPOINT, Filtering.ENDPOINT),
    "behind an address-restricted cone NAT": Nat(Mapping.ENDPOINT, Filtering.ADDRESS),
    "behind a port-restricted cone NAT": Nat(Mapping.ENDPOINT, Filtering.ADDRESS_PORT),
    "behind a symmetric NAT": Nat(Mapping.ADDRESS_PORT, Filtering.ADDRESS_PORT),
}
STUN = ("stun", 3478)


class Box:
    """A NAT as RFC 4787 words it, with one socket behind it."""

    def __init__(self, host: str, nat: Nat) -> None:
        self.host = host
        self._nat = nat
        self._ports: dict[object, int] = {}
        self._sent: set[tuple[int, object]] = set()

    def send(self, to: tuple[str, int]) -> tuple[str, int]:
        """Send a packet; returns the address it leaves from."""
        key = None if self._nat.mapping is Mapping.ENDPOINT else to
        port = self._ports.setdefault(key, 1000 + len(self._ports))
        self._sent |= {(port, to), (port, to[0])}
        return self.host, port

    def lets_in(self, source: tuple[str, int], port: int) -> bool:
        """Whether a packet from there to that port reaches the socket."""
        if port not in self._ports.values():
            return False
        seen: object = source if self._nat.filtering is Filtering.ADDRESS_PORT else source[0]
        return self._nat.filtering is Filtering.ENDPOINT or (port, seen) in self._sent


def meet(one: Nat, two: Nat) -> bool:
    """Let both ask a STUN server for their address, tell each other, and send to what they were told."""
    first, second = Box("one", one), Box("two", two)
    told_first, told_second = first.send(STUN), second.send(STUN)
    for _ in range(2):
        from_first, from_second = first.send(told_second), second.send(told_first)
        if second.lets_in(from_first, told_second[1]) or first.lets_in(from_second, told_first[1]):
            return True
    return False


@pytest.mark.parametrize("here", ALL, ids=lambda nat: f"{nat.mapping.value}/{nat.filtering.value}")
def test_the_outlook_is_what_two_such_nats_do(here: Nat) -> None:
    found = {one.peers: one.how for one in outlook(here)}
    assert {name: found[name] == "direct" for name in PEERS} == {name: meet(here, peer) for name, peer in PEERS.items()}
    assert found["with a public or forwarded address"] == "direct"
    assert found["whose network blocks UDP"] == "relay"


def test_what_depends_on_something_unmeasured_is_unknown_and_nothing_else() -> None:
    found = {one.peers: one.how for one in outlook(Nat(Mapping.ENDPOINT))}
    assert found["behind a port-restricted cone NAT"] == "direct"
    assert found["behind a symmetric NAT"] == "unknown"
    found = {one.peers: one.how for one in outlook(Nat())}
    assert found["behind an address-restricted cone NAT"] == "direct"
    assert found["behind a port-restricted cone NAT"] == "unknown"


def test_a_forwarded_port_makes_every_peer_with_udp_direct() -> None:
    strict = Nat(Mapping.ADDRESS_PORT, Filtering.ADDRESS_PORT)
    assert {one.how for one in outlook(strict, forwarded=True)[:-1]} == {"direct"}


def test_without_udp_nobody_is_direct_and_without_a_server_nothing_is_known() -> None:
    assert {one.how for one in outlook(Nat(), udp=False)} == {"relay"}
    assert {one.how for one in outlook(Nat(), udp=None)[:-1]} == {"unknown"}


def test_nats_go_by_the_names_people_use() -> None:
    assert name_of(Mapping.ENDPOINT, Filtering.ADDRESS_PORT) == "port-restricted cone NAT"
    assert name_of(Mapping.ENDPOINT, Filtering.ADDRESS) == "address-restricted cone NAT"
    assert name_of(Mapping.ENDPOINT, Filtering.ENDPOINT) == "full cone NAT"
    for mapping in (Mapping.ADDRESS, Mapping.ADDRESS_PORT, Mapping.DEPENDENT):
        assert name_of(mapping, None) == "symmetric NAT"
    assert name_of(Mapping.NONE, Filtering.ADDRESS_PORT) == "no NAT, behind a firewall"
