"""One anti-entropy session over one stream, the same machine on both ends.

Both state digests; where they differ, membership entries go first, then vectors, then each side streams what
the other lacks, both ways at once. A receiver acknowledges bytes after their commit; a sender keeps at most
`WINDOW_BYTES` unacknowledged. Nothing is remembered between sessions but what was committed, so a cut session
resumes by itself. Two nodes in step exchange one summary each and no more.

::

    session = Session(standings, membership, own=replica)
    effects = session.start()
    effects = session.receive(message)            # or .receive_segment(size), .fetched(…), .merged(size)
"""

from __future__ import annotations

import enum
import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cis.errors import Fault, PeerFault
from cis.model import ReplicaId, SpaceId, VersionVector
from cis.sync.floors import Standing, may_take, must_compare
from cis.sync.index import Membership
from cis.sync.vectors import forks, from_wire, summarised, to_wire
from cis.wire import messages
from cis.wire.messages import ENTRIES_MAX, FRAME_BYTES_MAX, IDS_MAX

WINDOW_BYTES = 24 << 20
"""Unacknowledged segment bytes a sender may have under way: well above the receiver's largest commit."""
PAGES_MAX = 64
_ENTRY_BYTES_PER_MESSAGE = FRAME_BYTES_MAX // 2


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message on the session's stream."""

    message: messages.Message


@dataclass(frozen=True, slots=True)
class SendFrame:
    """Send a fetched segment, already encoded."""

    frame: bytes


@dataclass(frozen=True, slots=True)
class Fetch:
    """Read a segment holding ``first`` from the snapshot; answer with `Session.fetched`.

    It goes on beside the effects it came with; its answer is given after they are performed.
    """

    space: SpaceId
    replica: ReplicaId
    first: int
    last: int
    unwanted: tuple[int, ...] = ()
    """kinds of changes whose bodies are to be left out"""


@dataclass(frozen=True, slots=True)
class Merge:
    """Verify and commit the segment just received; answer with `Session.merged`."""

    size: int


@dataclass(frozen=True, slots=True)
class AddEntries:
    """Add membership entries before anything that follows."""

    entries: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class InspectOwn:
    """The peer holds this node's own log up to ``seq``, where it has a link that begins with ``head``.

    If that is more than is held here, or another link than here, the store was rolled back.
    """

    space: SpaceId
    seq: int
    head: bytes


@dataclass(slots=True)
class Report:
    """What a session did."""

    changes_received: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    segments_sent: int = 0
    entries_received: int = 0
    refused: str = ""
    """why part of what the peer holds was not taken, through no fault of its own: a log forked by a cloned disk"""
    in_step: bool = False
    to_compare: tuple[SpaceId, ...] = ()
    """spaces in which whole states must be compared before all can be exchanged (`cis.sync.floors`)"""
    stated: dict[SpaceId, VersionVector] = field(default_factory=dict)
    """what the peer holds when the session has ended well: what it stated, and what it lacked"""
    partial: tuple[SpaceId, ...] = ()
    """spaces of which the peer does not keep all bodies: it may have held back what it has the headers of"""


@dataclass(frozen=True, slots=True)
class Finished:
    """Both sides have all the other had when the session began, committed and acknowledged."""

    report: Report


Effect = Send | SendFrame | Fetch | Merge | AddEntries | InspectOwn | Finished


class Phase(enum.Enum):
    """Where a session stands."""

    SUMMARY = "summary"
    MEMBERSHIP = "membership"
    STREAMING = "streaming"
    FINISHED = "finished"


@dataclass(slots=True)
class Done:
    """Totals each side has announced as its last."""

    sent: bool = False
    received: int | None = None


@dataclass(slots=True, order=True)
class _Range:
    turn: int
    number: int
    """in the order they were planned"""
    space: SpaceId = field(compare=False)
    replica: ReplicaId = field(compare=False)
    first: int = field(compare=False)
    last: int = field(compare=False)


@dataclass(slots=True)
class _Flow:
    """Bytes each way: what is under way, what is committed."""

    acknowledged: int = 0
    arrived: int = 0
    committed: int = 0
    planned: int = 0
    fetching: _Range | None = None
    queue: list[_Range] = field(default_factory=list)
    """a heap"""


class Session:
    """See the module.

    ``standings`` are those of the snapshot, in the spaces this peer may see: spaces that come first have their turn
    first, as far as the peer has stated what it holds.
    """

    def __init__(
        self,
        standings: Mapping[SpaceId, Standing],
        membership: Membership,
        own: ReplicaId,
    ) -> None:
        self._standings = standings
        self._turns = {space: turn for turn, space in enumerate(standings)}
        self._vectors = {space: standing.vector for space, standing in standings.items()}
        self._digests = {space: summarised(standing) for space, standing in standings.items()}
        self.theirs: dict[SpaceId, VersionVector] = {}
        """what the peer states to hold"""
        self._membership = membership
        self._membership_digest = membership.digest()  # the log may grow meanwhile; both sides judge by this
        self._unwanted: dict[SpaceId, tuple[int, ...]] = {}
        """by space, kinds whose bodies the peer wants none of"""
        self._own = own
        self._phase = Phase.SUMMARY
        self._awaited: set[SpaceId] = set()
        self._entries_awaited = False
        self._pages: dict[SpaceId, list[messages.Vector]] = {}
        self._flow = _Flow()
        self._done = Done()
        self.report = Report()

    @property
    def finished(self) -> bool:
        """Tell whether the session has ended well."""
        return self._phase is Phase.FINISHED

    def start(self) -> list[Effect]:
        """Open with the summary."""
        spaces: list[tuple[bytes, bytes]] = sorted(self._digests.items())
        return [Send(messages.Summary(self._membership_digest, spaces))]

    def receive(self, message: messages.Message) -> list[Effect]:
        """Take a message other than a segment; `PeerFault` where it does not belong here."""
        match message:
            case messages.Summary() if self._phase is Phase.SUMMARY:
                return self._on_summary(message)
            case messages.MembershipIds() if self._phase is Phase.MEMBERSHIP:
                return list(self._entries_for(message))
            case messages.MembershipEntries() if self._entries_awaited:
                return self._on_entries(message)
            case messages.Vector() if SpaceId(message.space) in self._awaited:
                return self._on_vector(message)
            case messages.Acknowledge() if self._phase is Phase.STREAMING:
                return self._on_acknowledge(message)
            case messages.Done() if self._done.received is None and self._phase is Phase.STREAMING:
                return self._on_done(message)
        raise PeerFault(Fault.MALFORMED, f"{type(message).__name__} does not belong in {self._phase.value}")

    def receive_segment(self, size: int) -> list[Effect]:
        """Take a segment of that many bytes, not yet looked at."""
        if self._phase is Phase.SUMMARY or self._done.received is not None or self._entries_awaited:
            raise PeerFault(Fault.MALFORMED, "a segment outside the streaming of one")
        self._flow.arrived += size
        if self._flow.arrived - self._flow.committed > WINDOW_BYTES + FRAME_BYTES_MAX:
            raise PeerFault(Fault.TOO_LARGE, "more segments under way than the window allows")
        self.report.bytes_received += size
        return [Merge(size)]

    def merged(self, size: int, changes: int) -> list[Effect]:
        """A received segment is committed: give its credit back."""
        self._flow.committed += size
        self.report.changes_received += changes
        return [Send(messages.Acknowledge(self._flow.committed)), *self._finish()]

    def fetched(self, fetch: Fetch, frame: bytes | None, last: int) -> list[Effect]:
        """A segment was read, up to number ``last``; None where the log holds nothing there."""
        rest, self._flow.fetching = self._flow.fetching, None
        assert rest is not None, "an answer to no question"
        assert (rest.replica, rest.first) == (fetch.replica, fetch.first)
        rest.first = last + 1
        if frame is not None and rest.first <= rest.last:
            heapq.heappush(self._flow.queue, rest)
        if frame is None and self._standings[rest.space].partial:
            self._stop(rest)
        sends: list[Effect] = []
        if frame is not None:
            self.report.bytes_sent += len(frame)
            self.report.segments_sent += 1
            sends.append(SendFrame(frame))
        return [*self._next_fetch(), *sends, *self._finish()]

    def _stop(self, reached: _Range) -> None:
        """Send nothing more of a log: to skip what is not whole here would look as if it had been collected."""
        log = (reached.space, reached.replica)
        self._flow.queue = [one for one in self._flow.queue if (one.space, one.replica) != log]
        heapq.heapify(self._flow.queue)

    # --- handlers ------------------------------------------------------------------------------------------

    def _on_summary(self, summary: messages.Summary) -> list[Effect]:
        theirs = {SpaceId(space): their_digest for space, their_digest in summary.spaces}
        self._awaited = {
            space for space, stated in self._digests.items() if space in theirs and theirs[space] != stated
        }
        self.report.stated = {space: vector for space, vector in self._vectors.items() if space in theirs}
        differs = summary.membership != self._membership_digest
        if not differs and not self._awaited:
            self._phase = Phase.FINISHED
            self.report.in_step = True
            return [Finished(self.report)]
        if differs:
            self._phase, self._entries_awaited = Phase.MEMBERSHIP, True
            return [Send(messages.MembershipIds(list(self._membership.ids()[:IDS_MAX])))]
        return self._state_vectors()

    def _entries_for(self, message: messages.MembershipIds) -> Iterator[Effect]:
        batch: list[bytes] = []
        size = 0
        for entry in self._membership.entries_missing_from(message.ids):
            if len(batch) >= ENTRIES_MAX or size + len(entry) > _ENTRY_BYTES_PER_MESSAGE:
                yield Send(messages.MembershipEntries(batch, more=True))
                batch, size = [], 0
            batch.append(entry)
            size += len(entry)
        yield Send(messages.MembershipEntries(batch))
        yield from self._state_vectors()

    def _on_entries(self, message: messages.MembershipEntries) -> list[Effect]:
        if message.more and not message.entries:
            raise PeerFault(Fault.MALFORMED, "an empty batch of entries that promises more")
        self._entries_awaited = message.more
        self.report.entries_received += len(message.entries)
        return [AddEntries(tuple(message.entries)), *self._finish()]

    def _state_vectors(self) -> list[Effect]:
        self._phase = Phase.STREAMING
        pages = (to_wire(space, standing) for space, standing in self._standings.items() if space in self._awaited)
        return [*(Send(page) for one in pages for page in one), *self._finish()]

    def _on_vector(self, message: messages.Vector) -> list[Effect]:
        space = SpaceId(message.space)
        pages = self._pages.setdefault(space, [])
        pages.append(message)
        if message.more:
            if len(pages) >= PAGES_MAX:
                raise PeerFault(Fault.TOO_LARGE, "a vector of more pages than any cluster needs")
            return []
        self._awaited.discard(space)
        return self._compare(space, from_wire(self._pages.pop(space)))

    def _compare(self, space: SpaceId, peer: Standing) -> list[Effect]:
        """Plan what to send, now that both standings in a space are known."""
        own = self._standings[space]
        mine, theirs = own.vector, peer.vector
        self.theirs[space] = theirs
        self.report.stated[space] = mine.join(theirs)
        self._unwanted[space] = peer.unwanted
        if peer.partial:
            self.report.partial += (space,)
        if forks(mine, theirs):
            self.report.refused = "a log ends differently here and there: its author's disk was cloned or rolled back"
        if must_compare(own, peer) or must_compare(peer, own):
            self.report.to_compare += (space,)
        if may_take(peer, own) and not must_compare(peer, own):
            for missing in mine.missing_in(theirs):
                self._flow.planned += 1
                heapq.heappush(self._flow.queue, _Range(self._turns[space], self._flow.planned, space, *missing))
        held_of_ours = theirs.contiguous(self._own)
        inspect: list[Effect] = []
        if held_of_ours:
            inspect.append(InspectOwn(space, held_of_ours, theirs.heads.get(self._own, b"")))
        return [*inspect, *self._next_fetch(), *self._finish()]

    def _on_acknowledge(self, message: messages.Acknowledge) -> list[Effect]:
        if not self._flow.acknowledged < message.committed <= self.report.bytes_sent:
            raise PeerFault(Fault.MALFORMED, "an acknowledgement of nothing new, or of what was not sent")
        self._flow.acknowledged = message.committed
        return [*self._next_fetch(), *self._finish()]

    def _on_done(self, message: messages.Done) -> list[Effect]:
        if message.sent != self._flow.arrived or self._awaited or self._entries_awaited:
            raise PeerFault(Fault.MALFORMED, "an end before all that was announced has arrived")
        self._done.received = message.sent
        return self._finish()

    def _next_fetch(self) -> list[Effect]:
        under_way = self.report.bytes_sent - self._flow.acknowledged
        if self._flow.fetching or not self._flow.queue or under_way >= WINDOW_BYTES:
            return []
        head = self._flow.fetching = heapq.heappop(self._flow.queue)
        return [Fetch(head.space, head.replica, head.first, head.last, self._unwanted[head.space])]

    def _finish(self) -> list[Effect]:
        """Announce the end once there is no more to send; finish once both have, and all is acknowledged."""
        effects: list[Effect] = []
        idle = not self._flow.queue and not self._flow.fetching and not self._awaited
        if self._phase is Phase.STREAMING and idle and not self._done.sent:
            self._done.sent = True
            effects.append(Send(messages.Done(self.report.bytes_sent)))
        if (
            self._done.sent
            and self._done.received == self._flow.arrived == self._flow.committed
            and self._flow.acknowledged == self.report.bytes_sent
            and not self._entries_awaited
            and self._phase is not Phase.FINISHED
        ):
            self._phase = Phase.FINISHED
            effects.append(Finished(self.report))
        return effects
