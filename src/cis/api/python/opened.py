"""The node behind a blocking client: until it is closed, asked with one care whether it runs or was opened here."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from typing import Any

import msgspec

from cis.api.control.client import Node
from cis.api.control.protocol import Reply, Request
from cis.errors import Unavailable, UsageError


class OpenNode:
    """A running node, or the store of one opened in this process."""

    def __init__(self, node: Node) -> None:
        self.closed = False
        self._node = node
        self._streams: weakref.WeakSet[Generator[Any]] = weakref.WeakSet()
        self._guard = threading.Lock()

    def call(self, request: Request[Reply]) -> Reply:
        """Answer a request; raises `CisError`."""
        reply: Reply = self._asked(self._node.call, request)
        return reply

    def stream(self, request: Request[Reply]) -> Iterator[Reply]:
        """Answer a request that streams."""
        replies: Iterator[Reply] = self._asked(self._node.stream, request)
        if isinstance(replies, Generator):
            with self._guard:
                self._streams.add(replies)
        return replies

    def close(self) -> None:
        """End what is streamed, where another thread waits with its next item, and let go of the node."""
        with self._guard:
            closed, self.closed = self.closed, True
            streams = list(self._streams)
        if closed:
            return
        for replies in streams:
            with contextlib.suppress(ValueError):  # another thread waits in it
                replies.close()
        self._node.close()

    def _asked(self, how: Callable[[Any], Any], request: Request[Any]) -> Any:  # noqa: ANN401 - what the request says
        if self.closed:
            raise Unavailable("this client was closed: open it again")
        try:
            return how(_checked(request))
        except UnicodeEncodeError as error:
            raise UsageError(f"{error.object[:40]!r} holds half a character (a lone surrogate)") from None


def _checked(request: Request[Any]) -> Request[Any]:
    """Return a request whose fields are of the types it states; `UsageError` in a running node's words."""
    try:
        found: Request[Any] = msgspec.convert(msgspec.structs.asdict(request), type(request))
    except msgspec.ValidationError as error:
        raise UsageError(f"not a request of {request.path}: {error}") from None
    return found
