"""Asking the running node from asyncio: HTTP/1.1 over its control socket, a connection for each request.

Nothing here blocks or starts a thread or a task. Leaving a call or a stream, by whatever way, closes its connection,
and by that the node gives up what is streamed; a stream is read no faster than its items are taken. ::

    node = AsyncRemoteNode(home)
    await node.call(GetStatus())
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import h11
import msgspec

from cis.api.control.client import ANSWER_S, CONNECT_S, FAILURE, NO_DAEMON, error_in, find_socket, require_node
from cis.api.control.protocol import BODY_BYTES_MAX, Reply, Request, reply_type
from cis.errors import CisError, TimedOut, Unavailable, UsageError

CALLS_MAX = 32
"""Requests of one client under way at once; others wait."""
STREAMS_MAX = 64
ANSWER_BYTES_MAX = 8 * BODY_BYTES_MAX
"""A page of the largest memories, all of it characters that JSON escapes."""
_READ_BYTES = 64 * 1024

Item = TypeVar("Item")
_Event = h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]


class AsyncRemoteNode:
    """The running node of a home; of one event loop."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.closed = False
        self._turns = asyncio.Semaphore(CALLS_MAX)
        self._calls: weakref.WeakSet[_Exchange] = weakref.WeakSet()
        self._streams: weakref.WeakSet[_Exchange] = weakref.WeakSet()

    async def check(self) -> None:
        """Raise `Unavailable` where no node runs, `UsageError` where there is none."""
        exchange = _Exchange()
        try:
            async with asyncio.timeout(CONNECT_S):
                await exchange.connect(self.home)
        except TimeoutError:
            raise _late() from None
        finally:
            exchange.close()

    async def call(self, request: Request[Reply]) -> Reply:
        """Answer a request; raises `CisError`."""
        patience_s = ANSWER_S + float(getattr(request, "timeout_s", 0.0))
        async with self._turns:
            exchange = self._exchange(self._calls)
            try:
                async with asyncio.timeout(patience_s):
                    await exchange.ask(self.home, request)
                    body = await exchange.rest()
            except TimeoutError:
                raise _late() from None
            finally:
                exchange.close()
        try:
            reply: Reply = msgspec.json.decode(body, type=reply_type(type(request)))
        except msgspec.MsgspecError:
            raise error_in(body) from None
        return reply

    def begin(self) -> _Exchange:
        """Return the exchange of a stream; `UsageError` where too many are open."""
        if sum(not one.closed for one in self._streams) >= STREAMS_MAX:
            raise UsageError(f"{STREAMS_MAX} streams are open already: leave some")
        return self._exchange(self._streams)

    async def aclose(self) -> None:
        """End all streams, and whatever else is under way."""
        self.closed = True
        for exchange in [*self._streams, *self._calls]:
            exchange.close()

    def _exchange(self, among: weakref.WeakSet[_Exchange]) -> _Exchange:
        if self.closed:
            raise Unavailable("this client was closed: connect again")
        exchange = _Exchange()
        among.add(exchange)
        return exchange


class AsyncStream(Generic[Item]):
    """What goes on, item by item, as an async iterator.

    It begins with the first item asked for or, as ``async with memory.watch() as changes:``, on entering; what happens
    after that is in it. It ends when it is left and when its client is closed; it raises `Unavailable` where the node
    ends, or cuts it off because items are not taken in time.
    """

    def __init__(self, node: AsyncRemoteNode, request: Request[Reply], convert: Callable[[Reply], Item | None]) -> None:
        self._node = node
        self._request = request
        self._convert: Callable[[Any], Item | None] = convert
        self._decode = msgspec.json.Decoder(reply_type(type(request))).decode
        self._exchange: _Exchange | None = None
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        await self._begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def __anext__(self) -> Item:
        while not self._ended:
            line = await self._line()
            if line is None:
                break
            item = self._convert(await self._decoded(line))
            if item is not None:
                return item
        await self.aclose()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End it; a second time changes nothing."""
        self._ended = True
        if self._exchange is not None:
            self._exchange.close()

    async def _begin(self) -> _Exchange:
        exchange = self._exchange
        if exchange is None:
            exchange = self._exchange = self._node.begin()
            try:
                async with asyncio.timeout(ANSWER_S):
                    await exchange.ask(self._node.home, self._request)
            except BaseException as error:
                await self.aclose()
                if isinstance(error, TimeoutError):
                    raise _late() from None
                raise
        return exchange

    async def _decoded(self, line: bytes) -> Any:  # noqa: ANN401 - the request's reply
        try:
            return self._decode(line)
        except msgspec.MsgspecError:
            await self.aclose()
            raise error_in(line) from None

    async def _line(self) -> bytes | None:
        try:
            line = await (await self._begin()).line()
        except Unavailable:
            if self._ended or self._node.closed:
                return None  # it was left, and not by the node
            await self.aclose()
            raise
        except BaseException:
            await self.aclose()
            raise
        if line is not None and line.startswith(FAILURE):
            await self.aclose()
            raise error_in(line[len(FAILURE) : -1])
        return line


class _Exchange:
    """One request and its answer."""

    def __init__(self) -> None:
        self._http = h11.Connection(h11.CLIENT)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unread = bytearray()
        self.closed = False

    def __del__(self) -> None:
        """Cut what a loop that was broken off dropped without a word, in whatever thread it is collected."""
        if self._writer is not None and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop was closed
                self._loop.call_soon_threadsafe(self._writer.transport.abort)

    def close(self) -> None:
        """Cut the connection."""
        self.closed = True
        writer, self._writer = self._writer, None
        if writer is not None and self._loop is not None and not self._loop.is_closed():
            writer.transport.abort()

    async def connect(self, home: Path) -> None:
        """Connect to the running node of a home."""
        path = find_socket(home)
        if path is None:
            require_node(home)
            raise Unavailable(NO_DAEMON)
        self._loop = asyncio.get_running_loop()
        try:
            self._reader, self._writer = await asyncio.open_unix_connection(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            require_node(home)
            raise Unavailable(NO_DAEMON) from None
        except OSError as error:
            raise Unavailable(f"the node's control socket {path} does not answer: {error.strerror or error}") from error
        if self.closed:
            self.close()

    async def ask(self, home: Path, request: Request[Any]) -> None:
        """Send a request, and return when the answer has begun; raises what the node refuses it with."""
        try:
            body = msgspec.json.encode(request)
        except UnicodeEncodeError as error:
            raise UsageError(f"{error.object[:40]!r} holds half a character (a lone surrogate)") from None
        if len(body) > BODY_BYTES_MAX:
            raise UsageError(f"a request above {BODY_BYTES_MAX:,} bytes: send less at once")
        await self.connect(home)
        headers = [("host", "cis"), ("connection", "close"), ("content-length", str(len(body)))]
        begin = h11.Request(method="POST", target=f"/v1/{request.path}", headers=headers)
        await self._send(begin, h11.Data(data=body), h11.EndOfMessage())
        answer = await self._event()
        if isinstance(answer, h11.Response) and answer.status_code != HTTPStatus.OK:
            raise error_in(await self.rest())

    async def rest(self) -> bytes:
        """Return the body of the answer, all that was not read."""
        while await self._part():
            if len(self._unread) > ANSWER_BYTES_MAX:
                raise CisError(f"an answer above {ANSWER_BYTES_MAX:,} bytes: ask for less at once, by a limit")
        return bytes(self._unread)

    async def line(self) -> bytes | None:
        """Return the next line of the body, without its end; None when there is none."""
        searched = 0
        while (end := self._unread.find(b"\n", searched)) < 0:
            searched = len(self._unread)
            if searched > ANSWER_BYTES_MAX:
                raise CisError(f"the node sent an item above {ANSWER_BYTES_MAX:,} bytes")
            if not await self._part():
                return None
        line = bytes(self._unread[:end])
        del self._unread[: end + 1]
        return line

    async def _part(self) -> bool:
        """Take in more of the body; False at its end."""
        event = await self._event()
        if isinstance(event, h11.Data):
            self._unread += event.data
            return True
        return False

    async def _send(self, *events: h11.Event) -> None:
        if self._writer is None:
            raise _gone()  # closed while it connected
        try:
            self._writer.write(b"".join(self._http.send(event) or b"" for event in events))
            await self._writer.drain()
        except OSError:
            raise _gone() from None

    async def _event(self) -> _Event:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                if self.closed or self._reader is None:
                    raise _gone()
                self._http.receive_data(await self._reader.read(_READ_BYTES))
        except OSError:
            raise _gone() from None
        except h11.RemoteProtocolError:
            raise _gone() from None
        return event


def _late() -> TimedOut:
    return TimedOut("the node did not answer in time: see its log, or restart it with `cis down`, `cis up`")


def _gone() -> Unavailable:
    return Unavailable("the node ended while it was asked: start it with `cis up`")
