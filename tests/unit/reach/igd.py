"""A UPnP router in a few lines, on loopback: one table, the faults real routers have, and every request it got."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_ARGUMENT = re.compile(r"<(New\w+)>([^<]*)</")
_ACTION = re.compile(r"<u:(\w+)")


@dataclass
class Router:
    """Its port table maps an external port to (client, internal port, lease)."""

    version: int = 1
    external: str = "44.0.0.30"
    permanent_only: bool = False
    conflicts: set[int] = field(default_factory=set)
    """Ports it refuses to map without saying that they are taken."""
    knows_any: bool = True
    tells_entries: bool = True
    table: dict[int, tuple[str, int, int]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    control: str = "/control"
    answer: Callable[[bytes], bytes] | None = None
    """What it answers instead of all of the above: a whole HTTP response to a request."""

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1]

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head.lower())
            body = await reader.readexactly(int(length[1])) if length else b""
            writer.write(self.answer(head + body) if self.answer else self._http(head, body))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _http(self, head: bytes, body: bytes) -> bytes:
        if head.startswith(b"GET"):
            return http(200, self.description())
        text = body.decode()
        action = _ACTION.findall(text)[0]
        self.calls.append(action)
        fault, results = self._act(action, dict(_ARGUMENT.findall(text)))
        if fault:
            detail = f"<UPnPError xmlns='u'><errorCode>{fault}</errorCode></UPnPError>"
            return http(500, _envelope(f"<s:Fault><faultcode>s:Client</faultcode><detail>{detail}</detail></s:Fault>"))
        inner = "".join(f"<{name}>{value}</{name}>" for name, value in results.items())
        return http(200, _envelope(f"<u:{action}Response xmlns:u='x'>{inner}</u:{action}Response>"))

    def _act(self, action: str, given: dict[str, str]) -> tuple[int, dict[str, object]]:
        port = int(given.get("NewExternalPort", 0))
        fault, results = 0, dict[str, object]()
        match action:
            case "GetExternalIPAddress":
                results = {"NewExternalIPAddress": self.external}
            case "GetSpecificPortMappingEntry" if self.tells_entries and port in self.table:
                client, internal, lease = self.table[port]
                results = {"NewInternalClient": client, "NewInternalPort": internal, "NewLeaseDuration": lease}
            case "GetSpecificPortMappingEntry" if self.tells_entries:
                fault = 714
            case "DeletePortMapping":
                fault = 0 if self.table.pop(port, None) else 714
            case "AddAnyPortMapping" if self.version == 2 and self.knows_any:
                while port in self.table or port in self.conflicts:
                    port += 1
                fault, results = self._add(port, given), {"NewReservedPort": port}
            case "AddPortMapping":
                taken = port in self.table and self.table[port][0] != given["NewInternalClient"]
                fault = 718 if taken or port in self.conflicts else self._add(port, given)
            case _:
                fault = 401
        return fault, results

    def _add(self, port: int, given: dict[str, str]) -> int:
        lease = int(given["NewLeaseDuration"])
        if self.permanent_only and lease:
            return 725
        assert given["NewProtocol"] == "UDP"
        self.table[port] = (given["NewInternalClient"], int(given["NewInternalPort"]), lease)
        return 0

    def description(self) -> str:
        kind = f"urn:schemas-upnp-org:service:WANIPConnection:{self.version}"
        service = f"<service><serviceType>{kind}</serviceType><controlURL>{self.control}</controlURL></service>"
        inner = f"<device><serviceList>{service}</serviceList></device>"
        return f"<?xml version='1.0'?><root xmlns='d'><device><deviceList>{inner}</deviceList></device></root>"


def http(status: int, text: str) -> bytes:
    body = text.encode()
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def _envelope(inner: str) -> str:
    return f"<s:Envelope xmlns:s='e'><s:Body>{inner}</s:Body></s:Envelope>"
