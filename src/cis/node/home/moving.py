"""Taking memories along from a cluster that was left: written again in the new one, then the old logs are forgotten.

What was public goes to the public space of the new cluster where this node may write there, everything else stays with
this node alone, in its private space. Spaces that meet there may hold memories of one key: the one that comes second is
called ``SPACE/KEY``, after the space it was in, and so is what a concurrent write left beside a memory.

Nothing is lost where the process ends midway. Some memories at a time, it is stored first which of them goes to which
free key, then they are written; nobody else writes until all are, so that a key that is taken the next time was written
by this move, and is not taken for another's. A memory is one change, so there whole or not at all; a set is not, but
may be written twice.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from cis.crdt import Shape
from cis.errors import CisError, Denied
from cis.model import Kind, MemoryId, SpaceId, hlc_ms
from cis.node.home.renamed import Renamed
from cis.store.author import Write
from cis.store.ledger import forget_former, load_move, save_move, space_names
from cis.store.read import Reader, Recalled
from cis.trust import PUBLIC, ClusterKeys, space_id
from cis.trust.sealing import SpaceKeys
from cis.wire.content import KEY_BYTES_MAX, Content, encode_content

if TYPE_CHECKING:
    from cis.node.home.local import LocalNode

_log = logging.getLogger(__name__)

MEMORIES_AT_ONCE = 512


class _Planned(msgspec.Struct, array_like=True, frozen=True):
    """Where a piece of a memory goes."""

    memory: bytes
    piece: int
    key: str


class _Plan(msgspec.Struct, array_like=True, frozen=True):
    """How far a move has come: everything of the spaces before, and of this one up to ``last``, but for ``writing``."""

    space: bytes
    last: bytes
    writing: tuple[_Planned, ...]


@dataclass(frozen=True, slots=True)
class _Piece:
    """What becomes one memory: one shown, or what was beside it."""

    kind: Kind
    contents: tuple[Content, ...]


def move_in(local: LocalNode, cluster: bytes, former: ClusterKeys) -> tuple[Renamed, ...]:
    """Write the memories of the cluster left behind again, then forget its logs; ``cluster`` is the id it had.

    Returns what is called otherwise now.
    """
    was_public = space_id(cluster, PUBLIC)
    names: dict[SpaceId, str] = local.store.execute(space_names).result()
    stored: bytes | None = local.store.execute(load_move).result()
    plan = msgspec.msgpack.decode(stored, type=_Plan) if stored is not None else None
    left = [former.spaces[space] for space in sorted(former.spaces) if space not in local.cluster.keys.spaces]
    renamed: list[Renamed] = []
    for keys in left:
        public = keys.space == was_public
        name = PUBLIC if public else names.get(keys.space, "space")
        local.store.add_space(keys, name, replicated=False)
        if plan is not None and keys.space < plan.space:
            continue
        mover = _Mover(local, keys, name, _target(local) if public else local.cluster.private)
        mover.move(plan if plan is not None and plan.space == keys.space else None)
        renamed += mover.renamed
    spaces = [keys.space for keys in left]
    local.store.execute(lambda connection: forget_former(connection, spaces)).result()
    local.store.renew_incarnation()
    for space in spaces:
        local.store.keys.pop(space, None)
    if renamed:
        _log.info("memories written under another key than they had, as theirs was taken: %d", len(renamed))
    return tuple(renamed)


class _Mover:
    """Moves one space."""

    def __init__(self, local: LocalNode, keys: SpaceKeys, name: str, target: SpaceId) -> None:
        self.renamed: list[Renamed] = []
        self._local = local
        self._space = keys.space
        self._name = name
        self._target = target
        self._unreadable = 0

    def move(self, plan: _Plan | None) -> None:
        """Move what a plan says that was being written, and all that comes after it."""
        with self._local.store.snapshot() as reader:
            if plan is not None:
                self._write_again(reader, plan.writing)
            last = plan.last if plan is not None else b""
            memories = sorted(memory for memory in reader.memories(self._space) if memory > last)
            for start in range(0, len(memories), MEMORIES_AT_ONCE):
                self._move_some(reader, memories[start : start + MEMORIES_AT_ONCE])
        if self._unreadable:
            _log.warning("memories that could not be opened and stay behind in the cluster left: %d", self._unreadable)

    def _move_some(self, reader: Reader, memories: Sequence[MemoryId]) -> None:
        planned: list[_Planned] = []
        writes: list[Write] = []
        taken: set[str] = set()
        for memory in memories:
            for number, piece in enumerate(self._pieces(reader, memory)):
                key = self._free_key(piece, taken, beside=number > 0)
                if key is not None:
                    taken.add(key)
                    planned.append(_Planned(memory, number, key))
                    writes += self._writes(piece, key)
        plan = msgspec.msgpack.encode(_Plan(self._space, memories[-1], tuple(planned)))
        self._local.store.execute(lambda connection: save_move(connection, plan)).result()
        self._write_all(writes)

    def _write_again(self, reader: Reader, planned: Sequence[_Planned]) -> None:
        """Write what of a plan is not there yet: the keys in it were free when it was made."""
        writes: list[Write] = []
        for memory, group in itertools.groupby(planned, lambda one: one.memory):
            pieces = self._pieces(reader, MemoryId(memory))
            for one in group:
                if one.piece < len(pieces):  # else its time to live has passed since
                    piece = pieces[one.piece]
                    again = self._writes(piece, one.key)
                    if piece.kind is Kind.ADD or self._recall(one.key) is None:
                        writes += again
        self._write_all(writes)

    def _pieces(self, reader: Reader, memory: MemoryId) -> list[_Piece]:
        """Return what becomes a memory each: what is shown, then each of what is beside it."""
        recalled, now_ms = reader.recall_by_id(memory, self._space), self._local.clock_ms()
        if recalled is None or recalled.expired(now_ms):
            return []
        self._unreadable += sum(part.content is None for part in (*recalled.parts, *recalled.siblings))
        return pieces_of(recalled, now_ms)

    def _free_key(self, piece: _Piece, taken: set[str], *, beside: bool) -> str | None:
        """Return the key for a piece; None where the target holds the very same."""
        for key in _candidates(self._name, piece.contents[0].key, beside=beside):
            if key not in taken:
                held = self._recall(key)
                if held is None:
                    return key
                if _same(pieces_of(held, self._local.clock_ms()), piece):
                    return None
        raise AssertionError("there is no end of keys")

    def _recall(self, key: str) -> Recalled | None:
        return self._local.store.reader.recall(self._target, key)

    def _writes(self, piece: _Piece, key: str) -> list[Write]:
        former = piece.contents[0].key
        if key != former:
            self.renamed.append(Renamed(self._name, former, key))
        return [
            Write(self._target, piece.kind, msgspec.structs.replace(content, key=key)) for content in piece.contents
        ]

    def _write_all(self, writes: list[Write]) -> None:
        """Write, or raise the first error: nothing of the former cluster is forgotten before all is written."""
        for outcome in self._local.store.write(writes).result() if writes else ():
            if isinstance(outcome, CisError):
                raise outcome


def pieces_of(recalled: Recalled, now_ms: int) -> list[_Piece]:
    """Return what of a memory, with what is beside it, becomes a memory each, with what is left of its time to live."""
    kinds = {Shape.REGISTER: Kind.PUT, Shape.COUNTER: Kind.COUNT, Shape.SET: Kind.ADD}
    shown = [part.content for part in recalled.parts if part.content is not None]
    if recalled.expires_ms:
        left_ms = max(1, recalled.expires_ms - now_ms)
        shown = [msgspec.structs.replace(content, ttl_ms=left_ms) for content in shown]
    pieces = [_piece(kinds[recalled.shape], shown)] if shown else []
    beside: dict[Kind, list[Content]] = {Kind.COUNT: [], Kind.ADD: []}
    for part in recalled.siblings:
        content = part.content
        if content is None:
            continue
        if content.ttl_ms:
            left_ms = max(1, hlc_ms(part.change.hlc) + content.ttl_ms - now_ms)
            content = msgspec.structs.replace(content, ttl_ms=left_ms)
        if part.change.kind is Kind.PUT:
            pieces.append(_piece(Kind.PUT, [content]))
        else:
            beside[part.change.kind].append(content)
    return pieces + [_piece(kind, contents) for kind, contents in beside.items() if contents]


def _piece(kind: Kind, contents: Sequence[Content]) -> _Piece:
    """Return a piece; the totals of a counter become one, so that it is one change."""
    if kind is not Kind.COUNT:
        return _Piece(kind, tuple(contents))
    added, subtracted = sum(one.added for one in contents), sum(one.subtracted for one in contents)
    return _Piece(kind, (msgspec.structs.replace(contents[-1], added=added, subtracted=subtracted),))


def _same(held: list[_Piece], piece: _Piece) -> bool:
    """Tell whether what the target holds under a key is that piece, and neither will go in time."""
    if len(held) != 1 or held[0].kind is not piece.kind:
        return False
    if any(content.ttl_ms for content in (*held[0].contents, *piece.contents)):
        return False
    one, other = (sorted(encode_content(_keyless(content)) for content in of.contents) for of in (held[0], piece))
    return one == other


def _keyless(content: Content) -> Content:
    return msgspec.structs.replace(content, key="-")


def _candidates(space: str, key: str, *, beside: bool) -> Iterator[str]:
    if not beside:
        yield key
    for number in itertools.count(1):
        suffix = f"-{number}" if number > 1 else ""
        yield f"{space}/{key}".encode()[: KEY_BYTES_MAX - len(suffix)].decode(errors="ignore") + suffix


def _target(local: LocalNode) -> SpaceId:
    """Where public memories go: to the private space of a node that may not write to the public one."""
    try:
        local.cluster.authority(local.cluster.public)
    except Denied:
        return local.cluster.private
    return local.cluster.public
