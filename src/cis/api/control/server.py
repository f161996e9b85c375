"""The control API: the table of operations as HTTP routes over the control socket, one POST each.

Answers are JSON; those that stream are JSON Lines. An error is ``{error, exit_code, kind}``, in a stream that
had begun ``{"failure": …}`` as its last line. ``/openapi.json`` describes all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Mapping
from typing import Any

import msgspec

from cis.api.control.control_http import ControlServer
from cis.api.control.openapi import describe
from cis.api.control.protocol import BODY_BYTES_MAX, Failure, Request, failure_of, plain, status_of
from cis.api.http_serving import Answer
from cis.errors import CisError, UsageError

_log = logging.getLogger(__name__)

JSON = "application/json"
LINES = "application/jsonl"
CHUNK_BYTES = 64 * 1024
CHUNK_S = 0.1
DEFECT = "the node met a defect of its own: its log says more"
_encode = msgspec.json.encode


def control_server(handlers: Mapping[type[Request[Any]], Any]) -> ControlServer:
    """Return a server of these operations."""
    endpoints = {f"/v1/{request.path}": _endpoint(request, handler) for request, handler in handlers.items()}

    async def answering(method: str, path: str, body: bytes | None) -> Answer:
        if (method, path) == ("GET", "/openapi.json"):
            return Answer(200, JSON, _encode(describe(tuple(handlers))))
        endpoint = endpoints.get(path) if method == "POST" else None
        if endpoint is None:
            return _refusal(UsageError(f"this node knows no {method} {path}: restart it if cis was updated"))
        if body is None:
            return _refusal(UsageError(f"a request above {BODY_BYTES_MAX:,} bytes: send fewer rows at once"))
        return await endpoint(body)

    return ControlServer(answering, body_bytes_max=BODY_BYTES_MAX)


def _endpoint(kind: type[Request[Any]], handler: Any) -> Callable[[bytes], Awaitable[Answer]]:  # noqa: ANN401 - of whichever operation
    async def endpoint(body: bytes) -> Answer:
        try:
            request = _decoded(kind, body)
            if kind.stream:
                return Answer(200, LINES, _lines(handler(request)))
            if inspect.iscoroutinefunction(handler):
                answer = await handler(request)
            else:
                answer = await asyncio.to_thread(handler, request)
            return Answer(200, JSON, _encode(answer))
        except CisError as error:
            return _refusal(plain(error))
        except Exception:  # noqa: BLE001 - the boundary of one request: a defect met in it ends that request alone
            _log.exception("%s failed", kind.path)
            return _refusal(CisError(DEFECT))

    return endpoint


def _decoded(kind: type[Request[Any]], body: bytes) -> Request[Any]:
    try:
        request: Request[Any] = msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"not a request of {kind.path}: {error}") from error
    return request


def _refusal(error: CisError) -> Answer:
    return Answer(status_of(error), JSON, _encode(failure_of(error)))


async def _lines(answers: Iterator[Any] | AsyncGenerator[Any, None]) -> AsyncGenerator[bytes, None]:
    try:
        if isinstance(answers, AsyncGenerator):
            async with contextlib.aclosing(answers):
                async for answer in answers:
                    yield _encode(answer) + b"\n"
        else:
            chunks = _Chunks(answers)
            try:
                while chunk := await asyncio.to_thread(chunks.take):
                    yield chunk
            finally:
                asyncio.get_running_loop().run_in_executor(None, chunks.leave)
    except CisError as error:
        yield _failed(plain(error))
    except Exception:  # noqa: BLE001 - the boundary of one request, as above: whoever reads must not take this for the end
        _log.exception("a stream broke off")
        yield _failed(CisError(DEFECT))


class _Failed(msgspec.Struct):
    failure: Failure


def _failed(error: CisError) -> bytes:
    return _encode(_Failed(failure_of(error))) + b"\n"


class _Chunks:
    """What a blocking handler streams, some answers at once: each visit to a thread costs as much as many of them.

    Those that come slowly go as they come, so that whoever follows how far something has come is told, and whoever has
    left ends it.
    """

    def __init__(self, answers: Iterator[Any]) -> None:
        self._answers = answers
        self._guard = threading.Lock()
        self._left = False

    def take(self) -> bytes:
        """Return the next lines, none where there are none."""
        lines, until_s = bytearray(), time.monotonic() + CHUNK_S
        with self._guard:
            for answer in self._answers:
                lines += _encode(answer) + b"\n"
                if len(lines) >= CHUNK_BYTES or time.monotonic() >= until_s or self._left:
                    break
        return bytes(lines)

    def leave(self) -> None:
        """End it, as soon as what is being made of it is made."""
        self._left = True
        with self._guard:
            if isinstance(self._answers, Generator):
                self._answers.close()
