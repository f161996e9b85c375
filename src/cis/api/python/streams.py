"""What goes on, item by item, without asyncio."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, Self, TypeVar

from cis.api.control.protocol import Reply, Request
from cis.api.python.opened import OpenNode

Item = TypeVar("Item")


class Stream(Generic[Item]):
    """What goes on, item by item, as an iterator that blocks until the next.

    It begins with the first item asked for or, as ``with memory.watch() as changes:``, on entering; what happens after
    that is in it. It ends when it is left and when its client is closed (a wait in another thread, with the item after
    that); it raises `Unavailable` where the node ends, or cuts it off because items are not taken in time. Where one
    waits for it and should stop for another reason, `cis.connect` is the way.
    """

    def __init__(self, node: OpenNode, request: Request[Reply], convert: Callable[[Reply], Item | None]) -> None:
        self._node = node
        self._request = request
        self._convert: Callable[[Any], Item | None] = convert
        self._replies: Iterator[Any] | None = None
        self._ended = False

    def __iter__(self) -> Self:
        return self

    def __enter__(self) -> Self:
        self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __next__(self) -> Item:
        while not self._ended:
            reply = next(self._begin(), None)
            if reply is None or self._node.closed:
                break
            item = self._convert(reply)
            if item is not None:
                return item
        self.close()
        raise StopIteration

    def close(self) -> None:
        """End it; a second time changes nothing."""
        self._ended = True
        replies, self._replies = self._replies, None
        if replies is not None and (close := getattr(replies, "close", None)) is not None:
            close()

    def _begin(self) -> Iterator[Any]:
        if self._replies is None:
            self._replies = self._node.stream(self._request)
        return self._replies
