"""The control API: the table of operations as HTTP routes over the control socket, one POST each.

Answers are JSON; those that stream are JSON Lines. An error is ``{error, exit_code, kind}``, in a stream that
had begun ``{"failure": …}`` as its last line. ``/openapi.json`` describes all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest  # noqa: TC002 - starlette reads the annotations
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from cis.api.control_socket import is_same_user
from cis.api.openapi import describe
from cis.api.protocol import BODY_BYTES_MAX, Failure, Request, failure_of, plain, status_of
from cis.errors import CisError, UsageError

_log = logging.getLogger(__name__)

JSON = "application/json"
LINES = "application/jsonl"
CHUNK_BYTES = 64 * 1024
GRACE_S = 2
_encode = msgspec.json.encode


def control_app(handlers: Mapping[type[Request[Any]], Any]) -> Starlette:
    """Return the application that serves these operations."""
    routes = [
        Route(f"/v1/{request.path}", _endpoint(request, handler), methods=["POST"])
        for request, handler in handlers.items()
    ]
    document = _encode(describe(tuple(handlers)))

    async def openapi(_: HttpRequest) -> Response:
        return Response(document, media_type=JSON)

    return Starlette(routes=[*routes, Route("/openapi.json", openapi)])


def _endpoint(kind: type[Request[Any]], handler: Any) -> Any:  # noqa: ANN401 - of whichever operation
    decoder = msgspec.json.Decoder(kind)

    async def endpoint(http: HttpRequest) -> Response:
        try:
            request = decoder.decode(await _body(http))
            if kind.stream:
                return StreamingResponse(_lines(handler(request)), media_type=LINES)
            if inspect.iscoroutinefunction(handler):
                answer = await handler(request)
            else:
                answer = await asyncio.to_thread(handler, request)
            return Response(_encode(answer), media_type=JSON)
        except msgspec.MsgspecError as error:
            return _refusal(UsageError(f"not a request of {kind.path}: {error}"))
        except CisError as error:
            return _refusal(plain(error))
        except Exception:  # noqa: BLE001 - the boundary of one request: a defect met in it ends that request alone
            _log.exception("%s failed", kind.path)
            return _refusal(CisError("the node met a defect of its own: its log says more"))

    return endpoint


async def _body(http: HttpRequest) -> bytes:
    body = bytearray()
    async for chunk in http.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise UsageError(f"a request above {BODY_BYTES_MAX:,} bytes: send fewer rows at once")
    return bytes(body)


def _refusal(error: CisError) -> Response:
    return Response(_encode(failure_of(error)), status_of(error), media_type=JSON)


async def _lines(answers: Iterator[Any] | AsyncIterator[Any]) -> AsyncIterator[bytes]:
    try:
        if isinstance(answers, AsyncIterator):
            async for answer in answers:
                yield _encode(answer) + b"\n"
        else:
            while chunk := await asyncio.to_thread(_chunk, answers):
                yield chunk
    except CisError as error:
        yield _encode(_Failed(failure_of(plain(error)))) + b"\n"


class _Failed(msgspec.Struct):
    failure: Failure


def _chunk(answers: Iterator[Any]) -> bytes:
    """Take some answers at once, since each visit to a thread costs as much as many of them."""
    lines = bytearray()
    for answer in answers:
        lines += _encode(answer) + b"\n"
        if len(lines) >= CHUNK_BYTES:
            break
    return bytes(lines)


class _OwnersOnly(H11Protocol):
    """HTTP for the owner of this process; others are cut off before a byte is read."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # narrower upstream
        connection = transport.get_extra_info("socket")
        if connection is None or not is_same_user(connection):
            _log.warning("a connection of another user to the control socket was refused")
            transport.abort()
            return
        super().connection_made(transport)


class ControlServer(uvicorn.Server):
    """Serves until `close`; signals are left to the daemon."""

    def __init__(self, app: Starlette) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=_OwnersOnly,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=GRACE_S,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: the daemon has handlers of its own."""
        yield

    async def run_on(self, listening: socket.socket) -> None:
        """Serve the socket until `close`."""
        await self.serve(sockets=[listening])

    def close(self) -> None:
        """Finish what is being answered, then return from `run_on`."""
        self.should_exit = True
