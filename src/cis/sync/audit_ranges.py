"""Which items two nodes do not share, by fingerprints of ranges (Meyer, Range-Based Set Reconciliation, 2022).

Both ends run the same machine, one message at a time in turn. A range whose fingerprint differs is divided by
sixteen, or listed where one side holds few items in it; who gets a list answers with what differs. What both
have need never be said, so the cost follows the number of differences and the logarithm of the sets.

::

    one = Reconciliation(space, Items(sorted_items))
    message = one.open()                       # the other end only answers
    message = other.receive(message)           # … until it returns None
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import overload

from cis.arrays import np
from cis.errors import Fault, PeerFault
from cis.model import ReplicaId, SpaceId, VersionVector
from cis.model.ids import MEMORY_ID_LENGTH, REPLICA_ID_LENGTH
from cis.wire.audit import FINGERPRINT_LENGTH, ITEM_LENGTH, LAST_BOUND, LISTED_ITEMS_MAX, RANGES_MAX, Ranges

BRANCHES = 16
TURNS_MAX = 1024
"""Messages of one space: an honest peer with ten million items and as many differences stays below."""
WAITING_MAX = 16 * RANGES_MAX
"""Ranges that may wait for an answer: an honest peer divides the latest first, and stays below."""
DIFFERENCES_MAX = 65_536
"""Items found in one audit; what lies beyond is left to the next."""
_MESSAGE_BYTES = 256 * 1024
_ITEMS_ANSWERED_MAX = 4096
_SEQ_AT = MEMORY_ID_LENGTH + REPLICA_ID_LENGTH

Span = tuple[bytes, bytes]


class Items(Sequence[bytes]):
    """Sorted items in one buffer."""

    def __init__(self, buffer: bytes) -> None:
        assert len(buffer) % ITEM_LENGTH == 0
        self._buffer = memoryview(buffer)

    def __len__(self) -> int:
        return len(self._buffer) // ITEM_LENGTH

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        return bytes(self._buffer[ITEM_LENGTH * index : ITEM_LENGTH * (index + 1)])

    def __contains__(self, item: object) -> bool:
        assert isinstance(item, bytes)
        place = bisect_left(self, item)
        return place < len(self) and self[place] == item

    def within(self, span: Span) -> tuple[int, int]:
        """Return the places of the first item of a range and of the first behind it."""
        low = bisect_left(self, span[0])
        return low, bisect_left(self, span[1], low)

    def raw(self, low: int, high: int) -> bytes:
        """Return the items of those places, one after the other."""
        return bytes(self._buffer[ITEM_LENGTH * low : ITEM_LENGTH * high])

    def fingerprint(self, low: int, high: int) -> bytes:
        """Return a hash of the items of those places."""
        digest = blake2b(digest_size=FINGERPRINT_LENGTH, person=b"cis/1 range")
        digest.update(self._buffer[ITEM_LENGTH * low : ITEM_LENGTH * high])
        return digest.digest()


def within(raw: bytes, vector: VersionVector) -> bytes:
    """Return those of the items whose change the vector holds."""
    rows = np.frombuffer(raw, np.uint8).reshape(-1, ITEM_LENGTH)
    replicas = np.ascontiguousarray(rows[:, MEMORY_ID_LENGTH:_SEQ_AT]).view(f"V{REPLICA_ID_LENGTH}").ravel()
    numbers = np.ascontiguousarray(rows[:, _SEQ_AT:]).view(">u8").ravel()
    distinct, which = np.unique(replicas, return_inverse=True)
    reached = np.array([vector.contiguous(ReplicaId(one.tobytes())) for one in distinct], dtype=np.uint64)
    held = numbers <= reached[which]
    for at, one in enumerate(distinct):
        for first, last in vector.beyond.get(ReplicaId(one.tobytes()), ()):
            held |= (which == at) & (numbers >= first) & (numbers <= last)
    return rows[held].tobytes()


def split_items(raw: bytes) -> list[bytes]:
    """Return the items of a message, or raise `PeerFault` where they are cut short, out of order or name no change."""
    items = [raw[at : at + ITEM_LENGTH] for at in range(0, len(raw), ITEM_LENGTH)]
    sound = all(len(item) == ITEM_LENGTH and item[_SEQ_AT:][:3] == bytes(3) for item in items)
    if not sound or any(one >= two for one, two in pairwise(items)):
        raise PeerFault(Fault.MALFORMED, "items of an audit are cut short or out of order")
    return items


class Reconciliation:
    """One end; `mine_only` and `theirs_only` are complete once `finished`, unless `truncated`."""

    def __init__(self, space: SpaceId, items: Items) -> None:
        self.finished = False
        self.truncated = False
        self.mine_only: dict[bytes, None] = {}
        self.theirs_only: dict[bytes, None] = {}
        self._space = space
        self._items = items
        self._waiting: list[tuple[Span, int | None]] = []
        """Ranges to divide or list, with the peer's count; None where it asked for the list. The last is next."""
        self._held: list[bytes] = []
        self._lacked: list[bytes] = []
        self._silent = False
        self._turns = 0

    def open(self) -> Ranges:
        """Begin, at one of the two ends."""
        return Ranges(self._space, prints=[self._print((b"", LAST_BOUND))])

    def receive(self, message: Ranges) -> Ranges | None:
        """Take the peer's turn and return this end's, None where both have ended; `PeerFault` for a wrong one."""
        self._turns += 1
        if self.finished or self._turns > TURNS_MAX:
            raise PeerFault(Fault.TOO_LARGE, "an audit that does not end")
        self._take(message)
        over = not (message.prints or message.asked or message.listed or message.held or message.lacked)
        if over and self._silent:
            self.finished = True
            return None
        answer, said = self._answer()
        self._silent = not said
        self.finished = over and not said
        return answer

    # --- what the peer says ----------------------------------------------------------------------------------

    def _take(self, message: Ranges) -> None:
        spans = [one[:2] for one in message.prints] + message.asked + [one[:2] for one in message.listed]
        _require_apart(spans)
        for lower, upper, fingerprint, count in reversed(message.prints):
            low, high = self._items.within((lower, upper))
            if count != high - low or fingerprint != self._items.fingerprint(low, high):
                self._waiting.append(((lower, upper), count))
        for lower, upper in reversed(message.asked):
            low, high = self._items.within((lower, upper))
            if high - low > LISTED_ITEMS_MAX:
                raise PeerFault(Fault.MALFORMED, "a list was asked for where there is no short one")
            self._waiting.append(((lower, upper), None))
        if len(self._waiting) > WAITING_MAX:
            raise PeerFault(Fault.TOO_LARGE, "more ranges to compare than any honest peer divides at once")
        for lower, upper, listed in message.listed:
            self._compare((lower, upper), split_items(listed))
        self._learn(split_items(message.held), split_items(message.lacked))

    def _compare(self, span: Span, theirs: list[bytes]) -> None:
        if theirs and not span[0] <= theirs[0] <= theirs[-1] < span[1]:
            raise PeerFault(Fault.MALFORMED, "items listed outside their range")
        low, high = self._items.within(span)
        listed = set(theirs)
        for place in range(low, high):
            item = self._items[place]
            if item not in listed and self._note(self.mine_only, item):
                self._held.append(item)
            if self.truncated:
                return
        for item in theirs:
            if item not in self._items and self._note(self.theirs_only, item):
                self._lacked.append(item)

    def _learn(self, held: list[bytes], lacked: list[bytes]) -> None:
        for item in held:
            if item in self._items:
                raise PeerFault(Fault.MALFORMED, "the peer says to lack here what is held")
            self._note(self.theirs_only, item)
        for item in lacked:
            if item not in self._items:
                raise PeerFault(Fault.MALFORMED, "the peer lacks what was never here")
            self._note(self.mine_only, item)

    def _note(self, found: dict[bytes, None], item: bytes) -> bool:
        """Keep a difference; False where there are too many, or it is known."""
        if len(self.mine_only) + len(self.theirs_only) >= DIFFERENCES_MAX:
            self.truncated = True
            return False
        known = item in found
        found[item] = None
        return not known

    # --- what is said ----------------------------------------------------------------------------------------

    def _answer(self) -> tuple[Ranges, bool]:
        """Return this end's turn, and whether it says anything."""
        turn = Ranges(self._space, [], [], [])
        room = _MESSAGE_BYTES
        while self._waiting and room > 0 and len(turn.prints) + BRANCHES <= RANGES_MAX and not self.truncated:
            span, count = self._waiting.pop()
            low, high = self._items.within(span)
            if count is None or high - low <= LISTED_ITEMS_MAX:
                turn.listed.append((*span, self._items.raw(low, high)))
                room -= ITEM_LENGTH * (high - low)
            elif count <= LISTED_ITEMS_MAX:
                turn.asked.append(span)
            else:
                turn.prints.extend(self._print(part) for part in self._divided(span, low, high))
                room -= 32 * BRANCHES
            room -= 32
        if self.truncated:
            self._waiting.clear()
        for column in (turn.prints, turn.asked, turn.listed):
            column.sort()
        held, self._held = self._held[:_ITEMS_ANSWERED_MAX], self._held[_ITEMS_ANSWERED_MAX:]
        lacked, self._lacked = self._lacked[:_ITEMS_ANSWERED_MAX], self._lacked[_ITEMS_ANSWERED_MAX:]
        said = bool(turn.prints or turn.asked or turn.listed or held or lacked)
        raw = (b"".join(sorted(held)), b"".join(sorted(lacked)))
        return Ranges(self._space, turn.prints, turn.asked, turn.listed, *raw), said

    def _print(self, span: Span) -> tuple[bytes, bytes, bytes, int]:
        low, high = self._items.within(span)
        return (*span, self._items.fingerprint(low, high), high - low)

    def _divided(self, span: Span, low: int, high: int) -> Iterator[Span]:
        """Divide a range into parts of equally many items."""
        lower = span[0]
        for part in range(1, BRANCHES):
            place = low + (high - low) * part // BRANCHES
            upper = _shortest_between(self._items[place - 1], self._items[place])
            yield lower, upper
            lower = upper
        yield lower, span[1]


def _require_apart(spans: list[Span]) -> None:
    """Refuse ranges that overlap or are empty: each item is looked at once a turn."""
    reached = b""
    for lower, upper in sorted(spans):
        if not reached <= lower < upper:
            raise PeerFault(Fault.MALFORMED, "ranges of an audit overlap")
        reached = upper


def _shortest_between(before: bytes, item: bytes) -> bytes:
    """Return the shortest prefix of an item that lies behind the one before it."""
    length = next(at for at in range(ITEM_LENGTH) if item[at] != before[at]) + 1
    return item[:length]
