"""What a removed admin decided before it knew: heard, once in a while, and nothing else of it.

When admins remove each other apart, the senior's word stands (`cis.trust.standing`). But those who learned the junior's
first take the senior for removed, would never let it in, and so never learn its. So a removed admin that proves who it
is may still show its membership entries, one session's worth, without being shown any. If they make it a member again
it is one; else it is turned away with the reason, like everybody who was removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cis.errors import CisError, Fault, PeerFault
from cis.model import NodeId
from cis.net import Connection, ConnectionLost, Stream
from cis.net.closing import StreamReset
from cis.node.home.local import LocalNode
from cis.wire.messages import (
    FRAME_BYTES_MAX,
    IDS_MAX,
    MembershipEntries,
    MembershipIds,
    Message,
    Open,
    Summary,
    decode,
    encode,
)

HEARING_S = 10.0
PAUSE_S = 60.0
"""How long one that was heard is not heard again."""
BATCHES_MAX = 16
APPELLANTS_MAX = 256


class Appeals:
    """Hears removed admins; belongs to the loop's thread."""

    def __init__(self, local: LocalNode, clock: Callable[[], float]) -> None:
        self._local = local
        self._clock = clock
        self._heard: dict[NodeId, float] = {}

    def may_be_heard(self, node: NodeId) -> bool:
        """Tell whether a removed node was an admin, and was not heard just now."""
        heard_at = self._heard.get(node)
        lately = heard_at is not None and self._clock() - heard_at < PAUSE_S
        return not lately and node in self._local.cluster.former_admins()

    async def hear(self, connection: Connection, node: NodeId) -> bool:
        """Take in what it shows on the first session it begins; returns whether that made it a member again."""
        if len(self._heard) >= APPELLANTS_MAX:
            self._heard.clear()
        self._heard[node] = self._clock()
        try:
            async with asyncio.timeout(HEARING_S):
                await self._listen(connection)
        except (CisError, ConnectionLost, StreamReset, TimeoutError):
            pass  # what came before it broke off was taken in
        return self._local.cluster.membership.member(node) is not None

    async def _listen(self, connection: Connection) -> None:
        while True:
            stream = await connection.accept_stream()
            frame = await stream.read_frame(FRAME_BYTES_MAX)
            if frame is not None and decode(frame) == Open("sync"):
                await self._take(stream)
                return
            stream.reset(Fault.UNAUTHORISED)

    async def _take(self, stream: Stream) -> None:
        """Play the part of a session up to the other's entries, saying only which are known here."""
        cluster = self._local.cluster
        await stream.write_frame(encode(Summary(cluster.membership.digest(), [])))
        await stream.write_frame(encode(MembershipIds(list(cluster.membership.ids()[:IDS_MAX]))))
        for _ in range(BATCHES_MAX):
            message = await _next(stream)
            if isinstance(message, MembershipEntries):
                await asyncio.to_thread(cluster.add_entries, message.entries, self._local.store)
                if not message.more:
                    break
            elif not isinstance(message, Summary | MembershipIds):
                raise PeerFault(Fault.UNAUTHORISED, "a removed node may show its membership entries and nothing else")
        stream.reset(Fault.UNAUTHORISED)


async def _next(stream: Stream) -> Message:
    frame = await stream.read_frame(FRAME_BYTES_MAX)
    if frame is None:
        raise PeerFault(Fault.MALFORMED, "a session was broken off")
    return decode(frame)
