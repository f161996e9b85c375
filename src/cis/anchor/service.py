"""The anchor over HTTP: the WebSocket of nodes at ``/v1``, ``/healthz``, and ``/metrics`` for who runs it.

A connection is read on only when its own answers and what it said in a room have place. Metrics are told to this
machine, and to who shows an access token; they hold counts alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute

from cis.anchor.attendance import Attendance, host_of, turn_away
from cis.anchor.limits import address_of
from cis.anchor.metrics import metrics_text
from cis.anchor.protocol import PATH
from cis.anchor.switchboard import Party, Switchboard
from cis.anchor.tunnel_service import tunnel_route
from cis.anchor.tunnels import Tunnels
from cis.errors import Denied

if TYPE_CHECKING:
    from starlette.requests import Request as HttpRequest
    from starlette.websockets import WebSocket

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
    try:
        party = switchboard.connect(host_of(websocket), authority, time.monotonic())
    except Denied as denied:
        await turn_away(websocket, denied)
        return
    try:
        await websocket.accept()
        await _Attendance(switchboard, websocket, party).run()
    finally:
        switchboard.leave(party)


class _Attendance(Attendance):
    def __init__(self, switchboard: Switchboard, websocket: WebSocket, party: Party) -> None:
        super().__init__(websocket, party)
        self._switchboard = switchboard
        self._party = party

    async def read(self) -> None:
        """Take what it says, while its answers and what it said in a room have place."""
        switchboard, party = self._switchboard, self._party
        try:
            async with asyncio.timeout(switchboard.limits.hello_s):
                data = await self.next_message()
        except TimeoutError:
            party.end("no hello came")
            return
        while data is not None and party.ending is None:
            room = party.room
            switchboard.take(party, data, time.monotonic(), time.time())
            await _wait_place(party)
            if room is not None and (other := room.facing(party)) is not None:
                await _wait_place(other)
            data = await self.next_message()

    def next_to_send(self) -> bytes | None:
        """Return the next answer, or what is passed on to it."""
        return self._party.next()


async def _wait_place(party: Party) -> None:
    """Wait until what waits to be sent to it is little enough for more."""
    while party.crowded and party.ending is None:
        placed = asyncio.Event()
        party.on_place.append(placed.set)
        await placed.wait()
