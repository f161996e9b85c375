"""What a peer holds, asked for on a stream of its own: digests there, vectors of the spaces that differ back.

Nothing is exchanged by it: it tells how far two nodes are apart, as often as somebody wants to know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cis.errors import Fault, PeerFault
from cis.model import NodeId, SpaceId, VersionVector
from cis.sync import Standing, digest, from_wire, to_wire
from cis.sync.session import PAGES_MAX
from cis.wire.messages import FRAME_BYTES_MAX, Done, Open, Summary, Vector, decode, encode

if TYPE_CHECKING:
    from cis.net import Connection, Stream
    from cis.node.home.local import LocalNode

ANSWER_S = 5.0
Vectors = Mapping[SpaceId, VersionVector]


def own_vectors(local: LocalNode, peer: NodeId | None = None) -> Vectors:
    """Return the vectors of the spaces shared with a peer; of all this node shares where there is none. It blocks."""
    spaces = local.cluster.shared_with(local.identity.node if peer is None else peer)
    with local.store.snapshot() as reader:
        return {space: reader.vector(space) for space in spaces}


async def ask_vectors(connection: Connection, local: LocalNode, own: Vectors, peer: NodeId) -> Vectors:
    """Return what the peer holds in those of these spaces it shares; `PeerFault`, TimeoutError, what streams raise."""
    own = {space: own[space] for space in local.cluster.shared_with(peer) if space in own}
    summary = Summary(local.cluster.membership.digest(), [(space, digest(own[space])) for space in sorted(own)])
    pages: dict[SpaceId, list[Vector]] = {}
    async with asyncio.timeout(ANSWER_S), await connection.open_stream("vectors") as stream:
        await stream.write_frame(encode(Open("vectors")))
        await stream.write_frame(encode(summary))
        stream.finish()
        while not isinstance(answer := await _read(stream), Done):
            if not isinstance(answer, Vector) or answer.space not in own:
                raise PeerFault(Fault.MALFORMED, "a question for vectors was answered by something else")
            pages.setdefault(SpaceId(answer.space), []).append(answer)
            if len(pages[SpaceId(answer.space)]) > PAGES_MAX:
                raise PeerFault(Fault.TOO_LARGE, "a vector of more pages than any cluster needs")
    return {space: from_wire(pages[space]).vector if space in pages else own[space] for space in own}


async def answer_vectors(stream: Stream, local: LocalNode, peer: NodeId) -> None:
    """Answer one question on a stream the peer opened for it."""
    async with asyncio.timeout(ANSWER_S):
        summary = await _read(stream)
        if not isinstance(summary, Summary):
            raise PeerFault(Fault.MALFORMED, "a question for vectors begins with a summary")
        asked = dict(summary.spaces)
        for space, vector in sorted((await asyncio.to_thread(own_vectors, local, peer)).items()):
            if space in asked and asked[space] != digest(vector):
                for page in to_wire(space, Standing(vector)):
                    await stream.write_frame(encode(page))
        await stream.write_frame(encode(Done(0)))
        stream.finish()


async def _read(stream: Stream) -> object:
    frame = await stream.read_frame(FRAME_BYTES_MAX)
    if frame is None:
        raise PeerFault(Fault.MALFORMED, "a question for vectors was broken off")
    return decode(frame)
