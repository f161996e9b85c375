"""A session of `cis.sync` over a simulated stream: the machine decides, this performs, as `cis.node` does.

Who lies of what it holds is sent no more than it said it lacks. It knows that it lied: what it is not sent for that
reason it does not take for collected, else it would come to believe itself, and tell the others so in good faith.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from cis.errors import CisError, Fault, PeerFault
from cis.model import NodeId, ReplicaId, SpaceId, VersionVector
from cis.node.streams.syncing import StoreIndex, give_up_floors
from cis.store.ordering import Order
from cis.sync import AddEntries, Effect, Fetch, Finished, InspectOwn, Merge, Send, SendFrame, Session
from cis.wire.messages import Message, Vector, decode, encode, is_segment

if TYPE_CHECKING:
    from cis.sim.node import SimNode
    from cis.sim.wires import End

FETCH_S = 0.001
"""What reading a segment takes."""
_SET_ASIDE = frozenset({Fault.FORKED, Fault.EXCESSIVE, Fault.CUT})


class SessionRun:
    """One side of one session; ``on_end`` is told of its end, with the error if there was one."""

    def __init__(
        self, node: SimNode, end: End, stream: int, on_end: Callable[[SessionRun, CisError | None], None], peer: NodeId
    ) -> None:
        self.stream = stream
        self._node = node
        self._end = end
        self._on_end = on_end
        self._open = contextlib.ExitStack()
        reader = self._open.enter_context(node.store.snapshot())
        self._index = StoreIndex(reader, node.cluster.shared_with(peer))
        self.machine = Session(self._index.standings(), node.cluster.membership, node.store.replica)
        self._stated = {space: standing.vector for space, standing in self._index.standings().items()}
        self._order = Order(self._stated, self.machine.theirs)
        self._arrived: deque[bytes] = deque()
        self.over = False

    def start(self) -> None:
        """Open with the summary."""
        self._step(self.machine.start)

    def take(self, frame: bytes) -> None:
        """Take a frame of the other side."""
        if is_segment(frame):
            self._arrived.append(frame)
            self._step(lambda: self.machine.receive_segment(len(frame)))
        else:
            self._step(lambda: self.machine.receive(decode(frame)))

    def drop(self) -> None:
        """Let the snapshot go; nothing more is heard of the session."""
        self.over = True
        self._open.close()

    def _step(self, react: Callable[[], list[Effect]]) -> None:
        if self.over:
            return
        try:
            self._perform(react())
        except CisError as error:
            if not self.over:
                self.drop()
                self._on_end(self, error)

    def _perform(self, effects: list[Effect]) -> None:
        waiting = deque(effects)
        while waiting and not self.over:
            effect = waiting.popleft()
            match effect:
                case Send(message):
                    self._end.send(self.stream, self._said(message))
                case SendFrame(frame):
                    self._end.send(self.stream, frame)
                case Fetch():
                    self._node.later(FETCH_S, partial(self._step, partial(self._fetch, effect)))
                case Merge(size):
                    waiting.extend(self.machine.merged(size, self._merge(self._arrived.popleft())))
                case AddEntries(entries):
                    self._node.upkeep.learn(entries)
                case InspectOwn():
                    self._inspect_own(effect)
                case Finished():
                    give_up_floors(self._node.store, self._index.standings(), self.machine.report)
                    self.drop()
                    self._on_end(self, None)

    def _said(self, message: Message) -> bytes:
        frame = self._node.outgoing(encode(message))
        if not self._node.honest and isinstance(said := decode(frame), Vector):
            space = SpaceId(said.space)
            seqs = {ReplicaId(replica): seq for replica, seq, _ in said.seqs}
            self._stated[space] = self._stated[space].join(VersionVector(seqs))
        return frame

    def _fetch(self, fetch: Fetch) -> list[Effect]:
        found = self._index.segment(fetch.space, fetch.replica, fetch.first, fetch.last, fetch.unwanted)
        frame, last = found if found is not None else (None, fetch.last)
        return self.machine.fetched(fetch, frame, last)

    def _merge(self, frame: bytes) -> int:
        try:
            return self._node.store.merge(frame, self._order).result().changes
        except PeerFault as aside:
            if aside.fault not in _SET_ASIDE:
                raise
            self.machine.report.refused = aside.detail
            return 0

    def _inspect_own(self, seen: InspectOwn) -> None:
        store = self._node.store
        held = store.reader.vector(seen.space).contiguous(store.replica)
        link = store.reader.link_at(seen.space, store.replica, seen.seq)
        if link is None and seen.seq <= store.reader.floor(seen.space).contiguous(store.replica):
            return  # collected since the peer had it
        if seen.seq > held or (seen.head and (link is None or not link.startswith(seen.head))):
            store.renew_incarnation()
