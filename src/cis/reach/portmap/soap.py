"""Calls of a router's service: a description in, an XML envelope each way (UPnP Device Architecture 1.1 § 2, § 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cis.reach.portmap.document import Element, parse
from cis.reach.portmap.fetch import fetch
from cis.reach.portmap.values import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cis.reach.portmap.links import Link

SERVICES = (
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
)
"""What maps ports, best first."""
SERVICES_MAX = 4
_OK = 200


@dataclass(frozen=True, slots=True)
class Service:
    """A service that maps ports, and where it is called."""

    kind: str
    control: Link

    @property
    def any_port(self) -> bool:
        """Whether it chooses another port itself where the wanted one is taken (IGD version 2)."""
        return self.kind == SERVICES[0]


class SoapFault(Refused):
    """The service refused, with a number of its own."""

    def __init__(self, action: str, code: int) -> None:
        super().__init__(f"the router refused {action} with UPnP error {code}")
        self.code = code


async def services_at(description: Link) -> list[Service]:
    """The services of a router that map ports, best first, at most four; `Refused` if it has none."""
    status, data = await fetch(description)
    if status != _OK:
        raise Refused(f"the router's description answers {status}")
    found = services_in(parse(data), description)
    if not found:
        raise Refused("the router offers no port mapping")
    return found


def services_in(root: Element, description: Link) -> list[Service]:
    """The services a description names whose control URL may be followed."""
    base = description.join(root.leaf("URLBase")) or description
    found: list[Service] = []
    for element in root.walk():
        kind = element.leaf("serviceType") if element.name == "service" else ""
        control = base.join(element.leaf("controlURL")) if kind in SERVICES else None
        if control is not None:
            found.append(Service(kind, control))
    return sorted(found, key=lambda service: SERVICES.index(service.kind))[:SERVICES_MAX]


async def call(service: Service, action: str, arguments: Sequence[tuple[str, str | int]] = ()) -> Element:
    """The element with an action's results; `SoapFault` if the router says no.

    Arguments are numbers, addresses and words of ours, none of which needs escaping.
    """
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in arguments)
    body = (
        '<?xml version="1.0"?>\r\n'
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"'
        ' s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/">'
        f'<s:Body><u:{action} xmlns:u="{service.kind}">{inner}</u:{action}></s:Body></s:Envelope>\r\n'
    )
    headers = [("Content-Type", 'text/xml; charset="utf-8"'), ("SOAPAction", f'"{service.kind}#{action}"')]
    status, data = await fetch(service.control, headers=headers, body=body.encode("ascii"))
    return result_of(action, status, data)


def result_of(action: str, status: int, data: bytes) -> Element:
    """The results in an answer to a call."""
    if status != _OK and not data.strip():
        raise Refused(f"the router answers {action} with {status}")
    root = parse(data)
    fault = root.find("Fault")
    if fault is not None or status != _OK:
        code = root.find("errorCode")
        text = code.text.strip() if code is not None else ""
        if text.isascii() and text.isdecimal() and len(text) <= 5:
            raise SoapFault(action, int(text))
        raise Refused(f"the router answers {action} with {status}")
    response = root.find(f"{action}Response")
    if response is None:
        raise Refused(f"the router's answer to {action} is none")
    return response
