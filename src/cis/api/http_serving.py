"""HTTP/1.1 on one listening socket: requests in, answers and streams of lines out.

h11 reads and writes what HTTP is; here connections are taken in, held to bounds, and ended. A web framework would do
as much and more, and is a tenth of what a node takes to start and to hold in memory. ::

    server = HttpServer(answering, body_bytes_max=1 << 20)
    await server.run_on(listening)             # until close()

A connection carries one request after the other. Who leaves ends the stream that is being sent, and nothing else: what
was asked for is done. Where whoever connects is a stranger, ``connections_max`` bounds how many there are at once, and
``patience_s`` how long one may take to put a request and to take an answer in.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

import h11

_log = logging.getLogger(__name__)

HEAD_BYTES_MAX = 16 * 1024
UNREAD_BYTES_MAX = 256 * 1024
"""What is taken from a client ahead of its being read; then it has to wait."""
GRACE_S = 2.0
"""How long what is being answered has, once the server closes."""


@dataclass(frozen=True)
class Asked:
    """A request: ``path`` is without its query, names of headers are in lower case, a body too large is None."""

    method: str
    path: str
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes | None

    def header(self, name: bytes) -> bytes | None:
        """Return what a header says, None where it is not there; what stands there twice is joined by a comma."""
        found = [value for one, value in self.headers if one == name]
        return b", ".join(found) if found else None


@dataclass(frozen=True)
class Answer:
    """What is sent back: a body, or the parts of one as they come."""

    status: int
    media: str
    body: bytes | AsyncGenerator[bytes, None]
    headers: Sequence[tuple[str, str]] = ()


Listen = Callable[[Callable[[], asyncio.BaseProtocol]], Awaitable[asyncio.Server]]
"""Returns what listens and does not serve yet, given what makes a connection."""


class HttpServer:
    """Serves one socket until `close`."""

    def __init__(
        self,
        answering: Callable[[Asked], Awaitable[Answer]],
        *,
        body_bytes_max: int,
        connections_max: int | None = None,
        patience_s: float | None = None,
    ) -> None:
        self.answering = answering
        self.body_bytes_max = body_bytes_max
        self.patience_s = patience_s
        self.connections: list[_Connection] = []
        self._connections_max = connections_max
        self._closing = asyncio.Event()

    @property
    def closing(self) -> bool:
        """Whether no more requests are taken."""
        return self._closing.is_set()

    def admits(self, _: socket.socket | None) -> bool:
        """Tell whether whoever has connected is let in; others are cut off before a byte is read."""
        return self._connections_max is None or len(self.connections) < self._connections_max

    async def run_on(self, listening: socket.socket) -> None:
        """Serve until `close`, then finish what is being answered; what takes longer than `GRACE_S` is cut off."""
        loop = asyncio.get_running_loop()
        serve = loop.create_unix_server if listening.family == socket.AF_UNIX else loop.create_server
        async with self.serving(lambda connection: serve(connection, sock=listening, start_serving=False)):
            await self._closing.wait()

    @contextlib.asynccontextmanager
    async def serving(self, listen: Listen) -> AsyncIterator[asyncio.Server]:
        """Serve until left, and end as `run_on` does; raises OSError where ``listen`` does."""
        group = asyncio.TaskGroup()
        server = await listen(lambda: _Connection(self, group))
        async with group:
            try:
                await server.start_serving()
                yield server
            finally:
                self.close()
                server.close()
            for connection in self.connections:
                connection.retire()
            if left := [connection.task for connection in self.connections]:
                await asyncio.wait(left, timeout=GRACE_S)
            for connection in list(self.connections):
                connection.cut()

    def close(self) -> None:
        """Finish what is being answered, then return from `run_on`."""
        self._closing.set()


class _Gone(Exception):
    """The client left."""


class _Connection(asyncio.Protocol):
    """One client; its task reads a request, answers it, and reads again."""

    task: asyncio.Task[None]

    def __init__(self, server: HttpServer, group: asyncio.TaskGroup) -> None:
        self._server = server
        self._group = group
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
        self._transport: asyncio.Transport
        self._unread, self._paused = 0, False
        self._heard = asyncio.Event()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._idle, self._streaming, self._lost = True, False, False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # narrower than all there are
        """Let in who is admitted."""
        self._transport = transport
        if not self._server.admits(transport.get_extra_info("socket")):
            transport.abort()
            return
        self.task = self._group.create_task(self._serve())
        self._server.connections.append(self)

    def data_received(self, data: bytes) -> None:
        """Keep what comes until it is read."""
        self._http.receive_data(data)
        self._unread += len(data)
        if self._unread > UNREAD_BYTES_MAX and not self._paused:
            self._transport.pause_reading()
            self._paused = True
        self._heard.set()

    def pause_writing(self) -> None:
        """Hold what is sent: the client is slower."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """Go on."""
        self._may_write.set()

    def connection_lost(self, _: Exception | None) -> None:
        """End what is only for the client."""
        self._lost = True
        self._heard.set()
        self._may_write.set()
        if self in self._server.connections:
            self._server.connections.remove(self)
        if self._streaming:
            self.task.cancel()

    def retire(self) -> None:
        """Take no further request."""
        if self._idle:
            self._transport.close()

    def cut(self) -> None:
        """End at once."""
        self._transport.abort()
        self.task.cancel()

    async def _serve(self) -> None:
        try:
            while await self._serve_one():
                self._http.start_next_cycle()
        except _Gone:
            pass
        except h11.RemoteProtocolError as error:
            _log.debug("what came is no HTTP: %s", error)
        except Exception:  # noqa: BLE001 - the boundary of one client: a defect met in an answer ends its connection alone
            _log.exception("an answer broke off")
        finally:
            self._transport.close()

    async def _serve_one(self) -> bool:
        """Answer one request; False where no other can follow."""
        self._idle = True
        async with self._in_time():
            request = await self._next()
            self._idle = False
            assert isinstance(request, h11.Request), "it comes first"
            method, path = request.method.decode("ascii"), request.target.decode("ascii").partition("?")[0]
            asked = Asked(method, path, request.headers, await self._body())
        await self._send(await self._server.answering(asked), with_body=method != "HEAD")
        return self._http.our_state is h11.DONE and not self._server.closing

    @contextlib.asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        """Bound what the client is waited for, and cut it off when it is slower."""
        try:
            async with asyncio.timeout(self._server.patience_s):
                yield
        except TimeoutError:
            self._transport.abort()
            raise _Gone from None

    async def _next(self) -> object:
        """Wait for what the client says next; `_Gone` where it has left."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._unread = 0
            if self._lost:
                raise _Gone
            if self._http.they_are_waiting_for_100_continue:
                self._write(h11.InformationalResponse(status_code=100, headers=[]))
            if self._paused:
                self._transport.resume_reading()
                self._paused = False
            self._heard.clear()
            await self._heard.wait()
        return event

    async def _body(self) -> bytes | None:
        """Read a body to its end, and keep no more of it than may be."""
        body, size = bytearray(), 0
        while isinstance(event := await self._next(), h11.Data):
            size += len(event.data)
            if size <= self._server.body_bytes_max:
                body += event.data
        return bytes(body) if size <= self._server.body_bytes_max else None

    async def _send(self, answer: Answer, *, with_body: bool) -> None:
        headers = [("content-type", answer.media), *answer.headers]
        if isinstance(answer.body, bytes):
            headers.append(("content-length", str(len(answer.body))))
            begin = h11.Response(status_code=answer.status, headers=headers)
            self._write(begin, *([h11.Data(data=answer.body)] if with_body else []), h11.EndOfMessage())
            async with self._in_time():
                await self._may_write.wait()
            return
        self._write(h11.Response(status_code=answer.status, headers=headers))
        if with_body:
            await self._stream(answer.body)
        else:
            await answer.body.aclose()
        self._write(h11.EndOfMessage())

    async def _stream(self, parts: AsyncGenerator[bytes, None]) -> None:
        self._streaming = True
        try:
            async with contextlib.aclosing(parts):
                async for part in parts:
                    if self._lost:
                        raise _Gone
                    self._write(h11.Data(data=part))
                    await self._may_write.wait()
        finally:
            self._streaming = False

    def _write(self, *events: h11.Event) -> None:
        data = b"".join(self._http.send(event) or b"" for event in events)
        if not self._lost:
            self._transport.write(data)
