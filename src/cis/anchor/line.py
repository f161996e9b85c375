"""One WebSocket to an anchor, as a node uses it: requests and their answers, and what comes unasked.

::

    async with open_line(AnchorPlace("https://anchor.example.net")) as line:
        await line.ask(LookUp(line.next_number(), tags))
        message = await line.heard()          # Posted, Entered, Said, Left: in the order they came

The server's certificate is verified with the system's store, or with the file of certificates that was given.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.frames import Frame, Opcode

from cis.anchor.place import AnchorPlace, check_url
from cis.anchor.protocol import (
    ANSWER_BYTES_MAX,
    PATH,
    TOKEN_LENGTH_MAX,
    VERSION,
    Answer,
    Done,
    Found,
    Hello,
    NumberTaken,
    Refused,
    Request,
    Say,
    ToNode,
    Welcome,
    decode_to_node,
    encode,
)
from cis.errors import CisError, Denied, PeerFault, TimedOut, Unavailable, UsageError
from cis.rate import Bucket

OPEN_S = 10.0
ANSWER_S = 10.0
PING_S = 20.0
CLOSE_S = 1.0
PINGS_PER_S, PINGS_BURST = 2, 60
"""An anchor pings three times a minute; each ping has to be answered, which takes memory until the answer is read."""
UNASKED_MAX = 64
"""Messages that wait to be read; beyond it no more are taken from the socket."""


@asynccontextmanager
async def open_line(place: AnchorPlace) -> AsyncIterator[Line]:
    """Connect, say hello, and read what comes for as long as the context lasts.

    Raises `Unavailable` where the anchor cannot be reached or ends the connection, `Denied` where it wants another
    token; each says what it was.
    """
    socket = await _connected(place)
    try:
        async with closing(socket):
            line = Line(socket, await _greet(socket, place))
            failure: CisError | None = None
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(line.read())
                try:
                    yield line
                except CisError as error:  # passed on as it is, and not in a group
                    failure = error
                finally:
                    reading.cancel()
            if failure is not None:
                raise failure
    except ConnectionClosed as error:
        raise Unavailable(f"the anchor {place.host} ended the connection: {_why(error)}") from error


class _Wary(ClientConnection):
    """A connection that an anchor cannot fill with answers it does not read."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._pings = Bucket(per_s=PINGS_PER_S, burst=PINGS_BURST)
        super().connection_made(transport)

    def process_event(self, event: object) -> None:
        if isinstance(event, Frame) and event.opcode is Opcode.PING and not self._pings.take(1, self.loop.time()):
            self.transport.abort()
        super().process_event(event)  # type: ignore[arg-type] # an Event, of which upstream has no public name


@asynccontextmanager
async def closing(socket: ClientConnection) -> AsyncIterator[None]:
    """Close in the end, without waiting long for an anchor that takes nothing any more."""
    try:
        yield
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * CLOSE_S):
                await socket.close()
        socket.transport.abort()


async def _connected(place: AnchorPlace) -> ClientConnection:
    return await connected(place, PATH, ANSWER_BYTES_MAX)


async def connected(place: AnchorPlace, path: str, bytes_max: int) -> ClientConnection:
    """Open a WebSocket to an anchor, for messages of at most that length; raises `Unavailable`, saying why."""
    url = "ws" + check_url(place.url).removeprefix("http").rstrip("/") + path
    try:
        return await connect(
            url,
            ssl=_trusting(place) if url.startswith("wss") else None,
            compression=None,
            open_timeout=OPEN_S,
            close_timeout=CLOSE_S,
            ping_interval=PING_S,
            ping_timeout=PING_S,
            max_size=bytes_max,
            user_agent_header=None,
            create_connection=_Wary,
        )
    # ValueError: a name that is none in DNS; ImportError: a proxy in the environment of a kind nothing here speaks.
    except (OSError, WebSocketException, ValueError, ImportError) as error:
        raise Unavailable(f"the anchor {place.host} cannot be reached: {_why(error)}") from error


def _trusting(place: AnchorPlace) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(place.ca_file) if place.ca_file is not None else None)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"p2p.cloud_anchor.ca_file {place.ca_file} holds no certificates: {error}") from error


async def _greet(socket: ClientConnection, place: AnchorPlace) -> Welcome:
    await socket.send(encode(Hello(VERSION, place.token[:TOKEN_LENGTH_MAX])))
    try:
        async with asyncio.timeout(ANSWER_S):
            answer = _read(await socket.recv())
    except TimeoutError:
        raise TimedOut(f"the anchor {place.host} did not answer within {ANSWER_S:g} s") from None
    except PeerFault as fault:
        raise Unavailable(f"{place.host} is no anchor, or a later one: {fault.detail}") from fault
    if isinstance(answer, Refused):
        raise Denied(f"the anchor {place.host} lets this node in no further: {answer.why}")
    if not isinstance(answer, Welcome):
        raise Unavailable(f"{place.host} is no anchor: it answered something else")
    return answer


def _read(data: str | bytes) -> ToNode:
    return decode_to_node(data.encode() if isinstance(data, str) else data)


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not to be trusted ({error.verify_message})"
    if isinstance(error, TimeoutError):
        return f"it did not answer within {OPEN_S:g} s"
    return str(error) or type(error).__name__


class Line:
    """A connection that has been greeted; belongs to one loop."""

    def __init__(self, socket: ClientConnection, welcome: Welcome) -> None:
        self.challenge = welcome.challenge
        self.stun_port = welcome.stun_port
        self._socket = socket
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._unasked: deque[ToNode] = deque()
        self._stirred = asyncio.Event()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def next_number(self) -> int:
        """Return the number of the next request."""
        return next(self._numbers)

    async def ask(self, request: Request) -> Done | Found:
        """Send a request and return its answer; `Denied` with the anchor's reason, or `Unavailable`."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked[request.number] = answer
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._send(encode(request))
                either: list[asyncio.Future[Any]] = [answer, self._ended]
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise TimedOut(f"the anchor did not answer within {ANSWER_S:g} s") from None
        finally:
            del self._asked[request.number]
        if not answer.done():
            raise Unavailable("the anchor ended the connection")
        found = answer.result()
        if isinstance(found, Refused):
            raise (NumberTaken if found.taken else Denied)(f"the anchor refused: {found.why}")
        return found

    async def prove(self, within_s: float) -> None:
        """See that the anchor answers; `TimedOut` where it does not in that time, `Unavailable` at the end."""
        try:
            async with asyncio.timeout(within_s):
                await (await self._socket.ping())
        except TimeoutError:
            raise TimedOut(f"the anchor did not answer within {within_s:g} s") from None
        except ConnectionClosed as error:
            raise Unavailable("the anchor ended the connection") from error

    async def say(self, chunk: bytes) -> None:
        """Send to the other one in the room; waits while too much is unsent, raises `Unavailable`."""
        await self._send(encode(Say(chunk)))

    async def heard(self) -> ToNode:
        """Return what came unasked next; raises `Unavailable` once the connection has ended."""
        while not self._unasked:
            if self._ended.done():
                raise Unavailable("the anchor ended the connection")
            await self._stir()
        self._stirred.set()
        return self._unasked.popleft()

    def forget(self) -> None:
        """Forget what came unasked until now."""
        self._unasked.clear()
        self._stirred.set()

    async def read(self) -> None:
        """Sort what comes into answers and the rest, until the connection ends."""
        try:
            async for data in self._socket:
                message = _read(data)
                if isinstance(message, Done | Found | Refused):
                    asked = self._asked.get(message.number)
                    if asked is not None and not asked.done():
                        asked.set_result(message)
                else:
                    while len(self._unasked) >= UNASKED_MAX:
                        await self._stir()
                    self._unasked.append(message)
                    self._stirred.set()
        except (PeerFault, ConnectionClosed):
            pass
        finally:
            if not self._ended.done():
                self._ended.set_result(None)
            self._stirred.set()

    async def _stir(self) -> None:
        self._stirred.clear()
        await self._stirred.wait()

    async def _send(self, data: bytes) -> None:
        try:
            await self._socket.send(data)
        except ConnectionClosed as error:
            raise Unavailable("the anchor ended the connection") from error
