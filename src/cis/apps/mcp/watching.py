"""Telling clients that a memory they asked about has changed, whoever changed it.

One thread follows the daemon's stream of changes, begun with the first subscription. A notification is a hint to
read again: while no daemon runs nobody is told, and of changes in quick succession only the last may be.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ResourceUpdated

from cis.api.control.client import connect_running
from cis.api.memories.memory_schema import WatchEvent, WatchMemories
from cis.apps.mcp.scope import Scope
from cis.apps.mcp.uris import read, uri_of
from cis.errors import CisError

Context: TypeAlias = ServerRequestContext[Any, Any]

SUBSCRIPTIONS_MAX = 1024
"""Addresses followed for clients of the older protocol; beyond, the oldest gives way."""
STREAMS_MAX = 64
CHANGED_MAX = 4096
"""Changes waiting to be told; beyond, the oldest gives way."""
TELL_S = 5.0
"""How long one client may keep the others waiting."""
RETRY_S = 2.0
_SESSION_HEADER = "mcp-session-id"


class Watcher:
    """Follows changes of one home, and tells those who subscribed; `run` it beside the server."""

    def __init__(self, home: Path, scope: Scope) -> None:
        self._home = home
        self._scope = scope
        self._bus = InMemorySubscriptionBus()
        self._listen = ListenHandler(self._bus, max_subscriptions=STREAMS_MAX)
        self._sessions: OrderedDict[tuple[str, str], ServerSession] = OrderedDict()
        self._aliases: OrderedDict[str, str] = OrderedDict()
        self._changed: OrderedDict[str, None] = OrderedDict()
        self._arrived = asyncio.Event()
        self._ended = threading.Event()
        self._following = False

    async def run(self) -> None:
        """Tell of changes until cancelled."""
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while self._changed:
                    await self._tell(self._changed.popitem(last=False)[0])
        finally:
            self._ended.set()

    async def listen(
        self, context: Context, params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        """Serve `subscriptions/listen`."""
        for uri in params.notifications.resource_subscriptions or ():
            self._note_alias(uri)
        self._follow()
        return await self._listen(context, params)

    async def subscribe(self, context: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
        """Serve `resources/subscribe`, of the protocol before 2026-07-28."""
        self._note_alias(params.uri)
        self._follow()
        self._sessions[_session_of(context), params.uri] = context.session
        if len(self._sessions) > SUBSCRIPTIONS_MAX:
            self._sessions.popitem(last=False)
        return types.EmptyResult()

    async def unsubscribe(self, context: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        """Serve `resources/unsubscribe`."""
        self._sessions.pop((_session_of(context), params.uri), None)
        return types.EmptyResult()

    def _note_alias(self, uri: str) -> None:
        """Note which memory's address this is another form of, if it is; `UsageError` for none that is served."""
        key, space = read(uri, self._scope.spaces[0])
        address = uri_of(key, self._scope.space(space), self._scope.spaces[0])
        if uri != address:
            self._aliases[uri] = address
            self._aliases.move_to_end(uri)
        if len(self._aliases) > SUBSCRIPTIONS_MAX:
            self._aliases.popitem(last=False)

    async def _tell(self, uri: str) -> None:
        """Tell those who asked, by the address they asked with."""
        for asked in [uri, *(alias for alias, address in self._aliases.items() if address == uri)]:
            await self._bus.publish(ResourceUpdated(asked))
            for (_, wanted), session in list(self._sessions.items()):
                if wanted == asked:
                    with anyio.move_on_after(TELL_S):
                        await session.send_resource_updated(asked)

    def _follow(self) -> None:
        if not self._following:
            self._following = True
            loop = asyncio.get_running_loop()
            threading.Thread(target=self._read, args=(loop,), name="mcp watch", daemon=True).start()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read the daemon's stream, and wait for a daemon while there is none; the thread ends with its process."""
        only = self._scope.spaces[0] if len(self._scope.spaces) == 1 else None
        with contextlib.suppress(RuntimeError):  # the loop was closed
            while not self._ended.is_set():
                with contextlib.suppress(CisError), connect_running(self._home) as node:
                    for event in node.stream(WatchMemories(space=only)):
                        loop.call_soon_threadsafe(self._note, event)
                self._ended.wait(RETRY_S)

    def _note(self, event: WatchEvent) -> None:
        if event.key and event.space in self._scope.spaces:
            self._changed[uri_of(event.key, event.space, self._scope.spaces[0])] = None
            if len(self._changed) > CHANGED_MAX:
                self._changed.popitem(last=False)
            self._arrived.set()


def _session_of(context: Context) -> str:
    """Return what tells the clients of one server apart; there is one on standard input."""
    return context.request.headers.get(_SESSION_HEADER, "") if context.request is not None else ""
