"""Values lent to be read: what one member does not keep it asks of another, and proves by the header it holds.

`Borrowing` and `lend` decide; `ask_bodies` and `answer_bodies` carry what they say over a stream of the purpose
``bodies``: one `WantBodies`, then a `Body` for each asked for, in that order. Nothing of it is written.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from cis.errors import Fault, PeerFault
from cis.model import Dot, NodeId, ReplicaId, SpaceId
from cis.node.streams.patience import unless_stalled
from cis.store.fetched import bodies_here, is_proven
from cis.wire.messages import BODIES_MAX, FRAME_BYTES_MAX, Body, Open, WantBodies, decode, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cis.net import Connection, Stream
    from cis.node.home.local import LocalNode

LENT_AT_ONCE = 8
"""Bodies in memory at a time while they are sent: a few MiB at most."""
LENDING_STALL_S = 10.0
"""After so long without a byte another member is asked."""
ASKING_BYTES_MAX = 64 + 48 * BODIES_MAX
"""What asks for the most bodies is no longer."""


class Borrowing:
    """One question to one peer, and what it has given of that so far."""

    def __init__(self, local: LocalNode, space: SpaceId, dots: Sequence[Dot]) -> None:
        assert 0 < len(dots) <= BODIES_MAX, "asked in parts"
        self.space = space
        self.found: dict[Dot, bytes] = {}
        """sealed bodies, each the one its author signed"""
        self._local = local
        self._awaited = deque(dots)

    @property
    def finished(self) -> bool:
        """Whether everything was answered."""
        return not self._awaited

    @property
    def question(self) -> WantBodies:
        """What to ask first."""
        return WantBodies(self.space, [(dot.replica, dot.seq) for dot in self._awaited])

    def take(self, frame: bytes) -> None:
        """Take an answer; blocks. `PeerFault` where it is none, or another body than was signed."""
        body = decode(frame)
        awaited = self._awaited.popleft()
        if not isinstance(body, Body) or (body.replica, body.seq) != awaited:
            raise PeerFault(Fault.MALFORMED, "a question for bodies was answered by something else")
        if not body.sealed:
            return
        with self._local.store.snapshot() as reader:
            proven = is_proven(reader, self.space, awaited, body.sealed)
        if proven is False:
            raise PeerFault(Fault.BAD_HASH, "a body that is not the one its author signed")
        if proven:
            self.found[awaited] = body.sealed


def lend(local: LocalNode, peer: NodeId, wanted: WantBodies, begin: int) -> list[Body]:
    """Return the next answers to a question, from that place on; none at its end. Blocks.

    Empty ones stand for what is not here, or not whole, or of a space that is not shared with the peer.
    """
    dots = [Dot(ReplicaId(replica), seq) for replica, seq in wanted.wanted[begin : begin + LENT_AT_ONCE]]
    space, found = SpaceId(wanted.space), dict[Dot, bytes]()
    if space in local.cluster.shared_with(peer):
        with local.store.snapshot() as reader:
            here = bodies_here(reader, space, dots)
            found = {dot: sealed for dot, sealed in here.items() if is_proven(reader, space, dot, sealed)}
    return [Body(dot.replica, dot.seq, found.get(dot, b"")) for dot in dots]


async def ask_bodies(connection: Connection, borrowing: Borrowing) -> None:
    """Ask a peer for bodies; they are in ``borrowing`` as they come. `PeerFault`, TimeoutError, what streams raise."""
    async with await connection.open_stream("bodies") as stream:
        await stream.write_frame(encode(Open("bodies")))
        await stream.write_frame(encode(borrowing.question))
        stream.finish()
        while not borrowing.finished:
            async with unless_stalled(stream, LENDING_STALL_S):
                frame = await stream.read_frame(FRAME_BYTES_MAX)
            if frame is None:
                raise PeerFault(Fault.NONE, "the peer ended its answer early")
            await asyncio.to_thread(borrowing.take, frame)


async def answer_bodies(stream: Stream, local: LocalNode, peer: NodeId) -> int:
    """Answer one question on a stream the peer opened for it, and return of how many bodies; raises as `ask_bodies`."""
    async with unless_stalled(stream, LENDING_STALL_S):
        frame = await stream.read_frame(ASKING_BYTES_MAX)
    wanted = decode(frame) if frame is not None else None
    if not isinstance(wanted, WantBodies):
        raise PeerFault(Fault.MALFORMED, "a stream for bodies begins with which are wanted")
    begin = 0
    while bodies := await asyncio.to_thread(lend, local, peer, wanted, begin):
        begin += len(bodies)
        for body in bodies:
            async with unless_stalled(stream, LENDING_STALL_S):
                await stream.write_frame(encode(body), bulk=True)
    stream.finish()
    return begin
