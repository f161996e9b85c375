"""The anchor over HTTP: the WebSocket of nodes at ``/v1``, ``/healthz``, and ``/metrics`` for who runs it.

Each connection has one reader, which goes on only when its own answers and what it said in a room have place, and one
writer. Metrics are told to this machine, and to who shows an access token; they hold counts alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from cis.anchor.limits import address_of
from cis.anchor.metrics import metrics_text
from cis.anchor.protocol import PATH
from cis.anchor.switchboard import Party, Switchboard
from cis.anchor.tunnel_service import tunnel_route
from cis.anchor.tunnels import Tunnels
from cis.errors import Denied

if TYPE_CHECKING:
    from starlette.requests import Request as HttpRequest

SEND_S = 20.0
CLOSE_CODE = 4000
_LOOPBACK = frozenset({"127.0.0.1", "::1", "::ffff:127.0.0.1"})


def anchor_app(
    switchboard: Switchboard, name: str | None, stun_answered: Callable[[], int], tunnels: Tunnels | None = None
) -> Starlette:
    """Return the application; ``name`` is what nodes call the anchor, else what each says in ``Host``.

    Without ``tunnels`` there is none.
    """

    async def attend(websocket: WebSocket) -> None:
        await _attend(switchboard, websocket, name or websocket.headers.get("host", ""))

    async def healthz(_: HttpRequest) -> Response:
        return PlainTextResponse("ok\n")

    async def metrics(request: HttpRequest) -> Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        host = request.client.host if request.client is not None else ""
        if host not in _LOOPBACK and switchboard.token_problem(token, address_of(host), time.monotonic()) is not None:
            return PlainTextResponse("metrics are for this machine, and for who has a token\n", 403)
        return PlainTextResponse(
            metrics_text(switchboard, stun_answered(), tunnels), media_type="text/plain; version=0.0.4"
        )

    routes = [WebSocketRoute(PATH, attend), Route("/healthz", healthz), Route("/metrics", metrics)]
    return Starlette(routes=[*routes, *([tunnel_route(tunnels)] if tunnels is not None else [])])


async def _attend(switchboard: Switchboard, websocket: WebSocket, authority: str) -> None:
    """Serve one node until it goes."""
    host = websocket.client.host if websocket.client is not None else ""
    try:
        party = switchboard.connect(host, authority, time.monotonic())
    except Denied as denied:
        await websocket.send_denial_response(PlainTextResponse(f"{denied}\n", 429))
        return
    try:
        await websocket.accept()
        await _Attendance(switchboard, websocket, party).run()
    finally:
        switchboard.leave(party)


class _Attendance:
    def __init__(self, switchboard: Switchboard, websocket: WebSocket, party: Party) -> None:
        self._switchboard = switchboard
        self._websocket = websocket
        self._party = party
        self._changed = asyncio.Event()
        self._gone = False
        party.on_change = self._changed.set

    async def run(self) -> None:
        """Read and write until either side ends it."""
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read())
            with contextlib.suppress(WebSocketDisconnect, TimeoutError, RuntimeError):  # it is gone, or reads nothing
                await self._write()
            reading.cancel()

    async def _read(self) -> None:
        switchboard, party = self._switchboard, self._party
        try:
            async with asyncio.timeout(switchboard.limits.hello_s):
                data = await self._next()
        except TimeoutError:
            party.end("no hello came")
            return
        while data is not None and party.ending is None:
            room = party.room
            switchboard.take(party, data, time.monotonic(), time.time())
            await _wait_place(party)
            if room is not None and (other := room.facing(party)) is not None:
                await _wait_place(other)
            data = await self._next()
        self._gone = data is None
        self._changed.set()

    async def _next(self) -> bytes | None:
        """Return the next message, None once there will be no more; what is text is no message of ours."""
        event = await self._websocket.receive()
        if event["type"] == "websocket.disconnect":
            return None
        return event.get("bytes") or b""

    async def _write(self) -> None:
        party = self._party
        while not self._gone:
            while (data := party.next()) is not None:
                async with asyncio.timeout(SEND_S):
                    await self._websocket.send_bytes(data)
            if party.ending is not None:
                async with asyncio.timeout(SEND_S):
                    await self._websocket.close(CLOSE_CODE)
                return
            self._changed.clear()
            await self._changed.wait()


async def _wait_place(party: Party) -> None:
    """Wait until what waits to be sent to it is little enough for more."""
    while party.crowded and party.ending is None:
        placed = asyncio.Event()
        party.on_place.append(placed.set)
        await placed.wait()
