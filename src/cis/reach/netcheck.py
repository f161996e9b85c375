"""Measuring the network: does UDP work, what does the NAT do (RFC 5780 §4), which servers answer and how fast.

A filter remembers whom a socket has sent to, so it is tested from a socket that has sent to one address of one server
alone; all else is asked from another. Nothing is concluded from what was not measured::

    async with await Endpoint.open(…) as first, await Endpoint.open(…) as second:
        found = await examine(Ear(first), Ear(second), [("stun.example.net", 3478)], own_hosts)
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

from aioice import stun

from cis.errors import CisError
from cis.reach.findings import Filtering, Mapping, Nat, Netcheck, ServerFinding
from cis.reach.hub import IceHub
from cis.reach.stun_client import Reflexive, Transaction, binding_request
from cis.reach.stun_header import is_request, transaction_id

if TYPE_CHECKING:
    from cis.net import Endpoint
    from cis.net.paths import Carrier
    from cis.net.qh3_core import RawAddress
    from cis.reach.names import Address

ANSWER_S = 3.0
"""How long a server is waited for."""
SILENCE_S = 2.5
"""How long an answer is waited for that a filter may keep out: the question goes out four times in it."""
NO_SERVER = "no STUN server configured; add p2p.ice.stun_servers"
_NO_ANSWER = "no STUN server answered over IPv4"


class _Asked(NamedTuple):
    """A server, the address of it that was asked, and what came of it."""

    name: str
    address: Address
    answer: Reflexive | None
    error: str


class Ear:
    """A socket with its STUN hub, which also hears requests that come to it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.hub = IceHub(endpoint)
        self.port = endpoint.address[1]
        assert endpoint.on_stun is not None, "the hub has taken it"
        self._hand_on: Callable[[bytes, RawAddress, Carrier], None] = endpoint.on_stun
        self._awaited: dict[bytes, asyncio.Event] = {}
        endpoint.on_stun = self._hear

    def expect(self, transaction: bytes) -> asyncio.Event:
        """Return what is set once a request with this transaction id arrives here."""
        return self._awaited.setdefault(transaction, asyncio.Event())

    def _hear(self, data: bytes, address: RawAddress, carrier: Carrier) -> None:
        awaited = self._awaited.get(transaction_id(data)) if is_request(data) else None
        if awaited is not None:
            awaited.set()
        else:
            self._hand_on(data, address, carrier)


async def examine(first: Ear, second: Ear, servers: Sequence[Address], own_hosts: Collection[str]) -> Netcheck:
    """Measure by these STUN servers, from two sockets that have sent nothing yet; takes up to about ten seconds.

    ``own_hosts`` are the addresses of this machine's interfaces.
    """
    asked = await _ask_all(first.hub, servers)
    four = [one for one in asked if ":" not in one.address[0]]
    nat = await _behaviour(first, second, four, own_hosts, configured=bool(servers))
    hairpin, hairpin_detail = await _hairpin(first, second, four, nat)
    answered = [one for one in asked if one.answer is not None]
    ipv6, ipv6_detail = _ipv6(first, asked, own_hosts)
    return Netcheck(
        udp=True if answered else False if servers else None,
        udp_detail=_udp(asked, servers),
        ipv6=ipv6,
        ipv6_detail=ipv6_detail,
        public=tuple(sorted({_seen(one.answer) for one in answered if one.answer is not None})),
        nat=nat,
        hairpin=hairpin,
        hairpin_detail=hairpin_detail,
        servers=tuple(_finding(asked, f"{host}:{port}") for host, port in servers),
    )


# --- asking ------------------------------------------------------------------------------------------------------


async def _ask_all(hub: IceHub, servers: Sequence[Address]) -> list[_Asked]:
    """Ask every server at one address of each family, all at once."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_ask_server(hub, server)) for server in servers]
    return [one for task in tasks for one in task.result()]


async def _ask_server(hub: IceHub, server: Address) -> list[_Asked]:
    name = f"{server[0]}:{server[1]}"
    try:
        async with asyncio.timeout(ANSWER_S):
            found = await hub.names.lookup(*server)
    except TimeoutError:
        found = ()
    if not found:
        return [_Asked(name, server, None, "its name has no address: check it, and the resolver")]
    families = {":" in host: (host, port) for host, port in reversed(found)}
    usable = [address for six, address in sorted(families.items()) if hub.takes_ipv6 or not six]
    if not usable:
        return [_Asked(name, found[0], None, "it has an IPv6 address alone, and this node no IPv6 socket")]
    return [await _ask(hub, name, address) for address in usable]


async def _ask(hub: IceHub, name: str, address: Address) -> _Asked:
    try:
        return _Asked(name, address, await hub.binding(address, ANSWER_S), "")
    except CisError as error:
        return _Asked(name, address, None, str(error))


async def _answers(hub: IceHub, address: Address, change: tuple[bool, bool] | None = None) -> Reflexive | None:
    """Ask once more; None for no answer."""
    try:
        return await hub.binding(address, SILENCE_S, change=change)
    except CisError:
        return None


# --- the NAT -----------------------------------------------------------------------------------------------------


async def _behaviour(
    first: Ear, second: Ear, asked: Sequence[_Asked], own_hosts: Collection[str], *, configured: bool
) -> Nat:
    answered = [one for one in asked if one.answer is not None]
    if not answered:
        why = _NO_ANSWER if configured else NO_SERVER
        return Nat(mapping_unknown=why, filtering_unknown=why)
    able = next((one for one in answered if _has_second_address(one)), None)
    if able is None:
        mapping, why = _compared(first, answered, own_hosts)
        needs = "no STUN server configured here answers from a second address (RFC 5780, OTHER-ADDRESS)"
        return Nat(mapping, None, why, needs)
    async with asyncio.TaskGroup() as group:
        filtered = group.create_task(_filtering(second, able))
        mapped = group.create_task(_mapping(first, able, answered, own_hosts))
    (filtering, why_not), (mapping, why) = filtered.result(), mapped.result()
    return Nat(mapping, filtering, why, why_not)


def _has_second_address(one: _Asked) -> bool:
    other = one.answer.other if one.answer is not None else None
    return other is not None and other[0] != one.address[0] and other[1] != one.address[1]


async def _filtering(ear: Ear, server: _Asked) -> tuple[Filtering | None, str]:
    """RFC 5780 §4.4; the socket must have sent to nobody before."""
    changes = ((True, True), (False, True))
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(_answers(ear.hub, server.address, change)) for change in changes]
    elsewhere, other_port = (task.result() for task in asking)
    for answer in (elsewhere, other_port):
        if answer is not None and answer.origin in {None, server.address}:
            return None, f"{server.name} answers from where it was asked, whatever it was asked for"
    if elsewhere is not None:
        return Filtering.ENDPOINT, ""
    return (Filtering.ADDRESS if other_port is not None else Filtering.ADDRESS_PORT), ""


async def _mapping(
    ear: Ear, server: _Asked, answered: Sequence[_Asked], own_hosts: Collection[str]
) -> tuple[Mapping | None, str]:
    """RFC 5780 §4.3, where the server's other address answers; else by comparing what several servers saw."""
    seen, other = server.answer, server.answer.other if server.answer is not None else None
    assert seen is not None, "chosen for its answer"
    assert other is not None, "as above"
    if _is_own(ear, seen, own_hosts):
        return Mapping.NONE, ""
    at_other_host = await _answers(ear.hub, (other[0], server.address[1]))
    if at_other_host is None:
        return _compared(ear, answered, own_hosts)
    if _seen(at_other_host) == _seen(seen):
        return Mapping.ENDPOINT, ""
    at_other_port = await _answers(ear.hub, other)
    if at_other_port is None:
        return Mapping.DEPENDENT, ""
    return (Mapping.ADDRESS if _seen(at_other_port) == _seen(at_other_host) else Mapping.ADDRESS_PORT), ""


def _compared(ear: Ear, answered: Sequence[_Asked], own_hosts: Collection[str]) -> tuple[Mapping | None, str]:
    """Compare what ordinary servers saw: it takes two on different hosts to see one address for both."""
    seen = {one.address: one.answer for one in answered if one.answer is not None}
    if any(_is_own(ear, answer, own_hosts) for answer in seen.values()):
        return Mapping.NONE, ""
    if len({_seen(answer) for answer in seen.values()}) > 1:
        return Mapping.DEPENDENT, ""
    if len({host for host, _ in seen}) > 1:
        return Mapping.ENDPOINT, ""
    return None, "one STUN server alone cannot tell; add another on another host to p2p.ice.stun_servers"


async def _hairpin(first: Ear, second: Ear, asked: Sequence[_Asked], nat: Nat) -> tuple[bool | None, str]:
    """Send from one socket to the public address of the other, each having sent to the other (RFC 5780 §4.5)."""
    if nat.mapping is None:
        return None, nat.mapping_unknown
    if nat.mapping is Mapping.NONE:
        return None, "there is no NAT to turn around at"
    if nat.mapping is not Mapping.ENDPOINT:
        return None, "behind a symmetric NAT it cannot be told from here"
    server = next(one for one in asked if one.answer is not None)
    assert server.answer is not None, "as chosen"
    seen = await _answers(second.hub, server.address)
    if seen is None:
        return None, f"{server.name} answered one socket and not another"
    there, back = (seen.host, seen.port), (server.answer.host, server.answer.port)
    heard = await asyncio.gather(_arrives(first, second, there), _arrives(second, first, back))
    if any(heard):
        return True, ""
    return False, "devices behind this router reach each other by their local addresses alone"


async def _arrives(sender: Ear, receiver: Ear, address: Address) -> bool:
    """Send a request to where another socket of ours is seen from outside, and tell whether it comes in there."""
    request = binding_request()
    heard = receiver.expect(request.transaction_id)
    transaction = sender.hub.begin(request, address, sender.hub.carrier)
    try:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(_send(transaction))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SILENCE_S):
                    await heard.wait()
            running.cancel()
    finally:
        sender.hub.finish(transaction)
    return heard.is_set()


async def _send(transaction: Transaction) -> None:
    """Send a request whose answer nobody expects."""
    with contextlib.suppress(stun.TransactionError):
        await transaction.run()


# --- words -------------------------------------------------------------------------------------------------------


def _udp(asked: Sequence[_Asked], servers: Sequence[Address]) -> str:
    if not servers:
        return NO_SERVER
    answered = {one.name for one in asked if one.answer is not None}
    if answered:
        return f"{len(answered)} of {len(servers)} STUN servers answered"
    return f"none of {len(servers)} STUN servers answered: UDP is blocked here, or they are down"


def _ipv6(ear: Ear, asked: Sequence[_Asked], own_hosts: Collection[str]) -> tuple[bool | None, str]:
    if not ear.hub.takes_ipv6:
        return False, "this machine has no IPv6, or p2p.listen_address is an IPv4 address"
    if not any(_is_global_six(host) for host in own_hosts):
        return False, "no interface has a global IPv6 address"
    six = [one for one in asked if ":" in one.address[0]]
    if any(one.answer is not None for one in six):
        return True, "a STUN server answered over it"
    if six:
        return False, "an interface has a global address, but no STUN server answered over it"
    return None, "an interface has a global address; no STUN server configured has one to ask"


def _is_global_six(host: str) -> bool:
    address = ipaddress.ip_address(host.partition("%")[0])
    return address.version == 6 and address.is_global


def _finding(asked: Sequence[_Asked], name: str) -> ServerFinding:
    ours = [one for one in asked if one.name == name]
    latencies = [one.answer.latency_s for one in ours if one.answer is not None]
    if latencies:
        return ServerFinding(kind="stun", name=name, latency_ms=round(min(latencies) * 1000, 1))
    return ServerFinding(kind="stun", name=name, error=ours[0].error)


def _is_own(ear: Ear, seen: Reflexive, own_hosts: Collection[str]) -> bool:
    return seen.host in own_hosts and seen.port == ear.port


def _seen(answer: Reflexive) -> str:
    return f"[{answer.host}]:{answer.port}" if ":" in answer.host else f"{answer.host}:{answer.port}"
