"""The stream ``/cis/record/1``: a tag of 16 bytes goes in, the sealed record of that tag comes out, or nothing.

Whoever opens it sends the tag; the answer is two bytes of length and the sealed record, and the stream ends. Who names
another tag than the one shown is reset without a word, so only who can compute the tag learns that it is shown here.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import trio

from cis.discovery.libp2p.messages import SEALED_BYTES_MAX

if TYPE_CHECKING:
    from libp2p.network.stream.net_stream import INetStream

TAG_LENGTH = 16
ANSWERS_MAX = 16
"""Streams answered at once; above it they are reset."""
ANSWER_S = 5.0
_LENGTH_LENGTH = 2


class Answers:
    """Answers those who ask; ``shown`` gives the tag and the sealed record, None for nothing."""

    def __init__(self, shown: Callable[[], tuple[bytes, bytes] | None], note: Callable[[str, Exception], None]) -> None:
        self._shown = shown
        self._note = note
        self._open = 0

    async def on_stream(self, stream: INetStream) -> None:
        """Answer on one stream; raises nothing, whatever was asked."""
        if self._open >= ANSWERS_MAX:
            await _dropped(stream)
            return
        self._open += 1
        done = False
        try:
            with trio.move_on_after(ANSWER_S):
                done = await self._answered(stream)
        except Exception as error:  # noqa: BLE001 - one stranger's stream, in foreign code; recorded
            self._note("an answer", error)
        finally:
            self._open -= 1
            await (_closed if done else _dropped)(stream)

    async def _answered(self, stream: INetStream) -> bool:
        tag = await _read_exactly(stream, TAG_LENGTH)
        shown = self._shown()
        if tag is None or shown is None or not hmac.compare_digest(tag, shown[0]):
            return False
        await stream.write(len(shown[1]).to_bytes(_LENGTH_LENGTH, "big") + shown[1])
        return True


async def ask(stream: INetStream, tag: bytes) -> bytes | None:
    """Return what the other side gives for a tag, None for nothing usable; raises what the stream raises."""
    try:
        await stream.write(tag)
        header = await _read_exactly(stream, _LENGTH_LENGTH)
        length = int.from_bytes(header, "big") if header is not None else 0
        return await _read_exactly(stream, length) if 0 < length <= SEALED_BYTES_MAX else None
    finally:
        await _dropped(stream)


async def _read_exactly(stream: INetStream, length: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < length:
        part = await stream.read(length - len(parts))
        if not part:
            return None
        parts += part
    return bytes(parts[:length])


async def _closed(stream: INetStream) -> None:
    await _ended(stream.close)


async def _dropped(stream: INetStream) -> None:
    await _ended(stream.reset)


async def _ended(end: Callable[[], Awaitable[None]]) -> None:
    """End a stream whatever state it is in, also while being cancelled."""
    with trio.move_on_after(1.0, shield=True):
        try:
            await end()
        except Exception:  # noqa: BLE001 - it has ended already, in one of the many ways there are
            return
