"""Operations of a running node on topics; all on the driver's loop."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator

from cis.api.exchange.rows import bytes_of
from cis.api.peers.gossip_schema import Broadcasted, BroadcastMessage, Heard, Listening, ListenTopics
from cis.errors import UsageError
from cis.model import did_of
from cis.node.bulletins.hearing import Message
from cis.node.driver import Driver


class TopicOperations:
    """What a user tells and hears."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def broadcast(self, request: BroadcastMessage) -> Broadcasted:
        """Tell all members something."""
        try:
            payload = bytes_of(request.message) if request.form == "bytes" else request.message.encode()
        except UnicodeEncodeError:
            raise UsageError("the message holds half a character (a lone surrogate): write valid Unicode") from None
        self._driver.topics.broadcast(request.topic, payload)
        return Broadcasted(len(self._driver.core.overlay.neighbours), len(payload))

    async def listen(self, request: ListenTopics) -> AsyncIterator[Listening | Heard]:
        """Yield what is told from now on, until the count or the time is reached, or the node ends."""
        left = request.count
        with self._driver.topics.listen(request.topic) as listening:
            yield Listening()
            ends_at = asyncio.get_running_loop().time() + request.seconds if request.seconds is not None else None
            while left is None or left > 0:
                try:
                    async with asyncio.timeout_at(ends_at):
                        found = await listening.next()
                except TimeoutError:
                    return
                if found is None:
                    return
                yield self._heard(*found)
                left = left - 1 if left is not None else None

    def _heard(self, message: Message, missed: int) -> Heard:
        text, encoded = None, None
        try:
            text = message.payload.decode()
        except UnicodeDecodeError:
            encoded = base64.b64encode(message.payload).decode()
        return Heard(
            topic=message.topic,
            author=self._driver.local.cluster.name_of(message.author),
            did=did_of(message.author),
            sent_ms=message.sent_ms,
            text=text,
            base64=encoded,
            missed=missed,
        )
