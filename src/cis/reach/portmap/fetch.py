"""One HTTP exchange with the router: bounded in time and size, no redirect followed, nothing kept open."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import h11

from cis.reach.portmap.document import DOCUMENT_MAX
from cis.reach.portmap.values import NoAnswer, Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cis.reach.portmap.links import Link

TIMEOUT_S = 3.0
_HEADERS_MAX = 16 * 1024
_CHUNK = 16 * 1024


async def fetch(link: Link, *, headers: Sequence[tuple[str, str]] = (), body: bytes | None = None) -> tuple[int, bytes]:
    """Status and body of what the router answers to a GET, or to a POST where there is a ``body``."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await _exchange(link, headers, body)
    except h11.RemoteProtocolError as error:
        raise Refused(f"the router does not speak HTTP ({error})") from error
    except TimeoutError as error:
        raise NoAnswer("the router took too long") from error
    except OSError as error:
        raise NoAnswer(f"the router cannot be reached ({error.strerror or error})") from error


async def _exchange(link: Link, headers: Sequence[tuple[str, str]], body: bytes | None) -> tuple[int, bytes]:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEADERS_MAX)
    own = [("Host", f"{link.host}:{link.port}"), ("Connection", "close"), ("User-Agent", "cis UPnP/1.1")]
    if body is not None:
        own.append(("Content-Length", str(len(body))))
    method = "GET" if body is None else "POST"
    reader, writer = await asyncio.open_connection(link.host, link.port)
    try:
        request = h11.Request(method=method, target=link.target, headers=[*own, *headers])
        writer.write(connection.send(request) or b"")
        if body is not None:
            writer.write(connection.send(h11.Data(data=body)) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        await writer.drain()
        return await _response(connection, reader)
    finally:
        writer.transport.abort()


async def _response(connection: h11.Connection, reader: asyncio.StreamReader) -> tuple[int, bytes]:
    status, body = 0, bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > DOCUMENT_MAX:
                raise Refused("the router's answer is too long")
        elif isinstance(event, h11.EndOfMessage):
            return status, bytes(body)
        elif not isinstance(event, h11.InformationalResponse):
            raise Refused("the router closed without an answer")
