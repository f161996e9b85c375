"""The search for a UPnP router: SSDP by multicast, and straight to the gateway (UPnP Device Architecture 1.1 § 1.3).

Where the default gateway is known only its answer counts, since nobody else forwards a port to us; where it is
not, answers from private addresses do, the first four.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cis.reach.portmap.datagrams import Inbox, open_inbox
from cis.reach.portmap.links import Link, link, may_be_router
from cis.reach.portmap.values import NoAnswer

if TYPE_CHECKING:
    from collections.abc import Iterable

GROUP = ("239.255.255.250", 1900)
LINKS_MAX = 4
_TARGETS = (
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
)
_ASK_AT_S = (0.0, 0.4)
_DEADLINE_S = 1.8
_OTHERS_S = 0.1
"""How long after the first answer others are waited for, where the gateway is not known."""


def encode_search(target: str) -> bytes:
    """A request that devices and services of one kind make themselves known."""
    lines = ("M-SEARCH * HTTP/1.1", f"HOST: {GROUP[0]}:{GROUP[1]}", 'MAN: "ssdp:discover"', "MX: 1", f"ST: {target}")
    return "\r\n".join((*lines, "", "")).encode("ascii")


def decode_answer(data: bytes, source: str) -> Link | None:
    """Where the description is that an answer names, if it is at the very host that answered."""
    lines = data.decode("latin-1").split("\r\n")
    if not lines[0].startswith("HTTP/1.") or lines[0].split(" ")[1:2] != ["200"]:
        return None
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    wanted = headers.get("st", "")
    if ":InternetGatewayDevice:" not in wanted and ":WANIPConnection:" not in wanted:
        return None
    return link(headers.get("location", ""), source)


async def search(own: str, gateway: str | None) -> list[Link]:
    """The descriptions of the routers that answered; `NoAnswer` if none did."""
    where = (GROUP,) if gateway is None else (GROUP, (gateway, GROUP[1]))
    found: list[Link] = []
    try:
        async with open_inbox(own) as (inbox, transport), asyncio.TaskGroup() as group:
            asking = group.create_task(_ask(transport, where))
            try:
                async with asyncio.timeout(_DEADLINE_S) as deadline:
                    while len(found) < LINKS_MAX:
                        answer = await _answer(inbox, gateway)
                        if answer is None or answer in found:
                            continue
                        found.append(answer)
                        if gateway is not None:
                            break
                        deadline.reschedule(asyncio.get_running_loop().time() + _OTHERS_S)
            except TimeoutError:
                pass
            asking.cancel()
    except* OSError as errors:
        raise NoAnswer(f"the network cannot be searched ({errors.exceptions[0]})") from errors
    if not found:
        raise NoAnswer("no router answered the search")
    return found


async def _ask(transport: asyncio.DatagramTransport, where: Iterable[tuple[str, int]]) -> None:
    waited_s = 0.0
    for at_s in _ASK_AT_S:
        await asyncio.sleep(at_s - waited_s)
        waited_s = at_s
        for address in where:
            for target in _TARGETS:
                transport.sendto(encode_search(target), address)


async def _answer(inbox: Inbox, gateway: str | None) -> Link | None:
    try:
        data, source = await inbox.wait_datagram()
    except OSError:  # one of several questions could not be sent; the others may be answered
        return None
    if source != gateway and (gateway is not None or not may_be_router(source)):
        return None
    return decode_answer(data, source)
