"""How long to wait for a peer: until nothing passes on a stream, not until a large frame is through a slow line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cis.net import Stream

LOOKS = 8
"""How often progress is looked for in the time nothing may pass."""


@asynccontextmanager
async def unless_stalled(stream: Stream, within_s: float) -> AsyncIterator[None]:
    """Do the body; raises TimeoutError once nothing has passed on the stream for ``within_s``, either way."""
    loop = asyncio.get_running_loop()
    passed = _passed(stream)
    timer: asyncio.Handle | None = None

    def look() -> None:
        nonlocal passed, timer
        timer = loop.call_later(within_s / LOOKS, look)
        if (now := _passed(stream)) != passed and not patience.expired():
            passed = now
            patience.reschedule(loop.time() + within_s)

    async with asyncio.timeout(within_s) as patience:
        look()
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()


def _passed(stream: Stream) -> int:
    return stream.flow.bytes_in + stream.flow.bytes_out
