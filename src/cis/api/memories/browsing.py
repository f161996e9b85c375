"""Lists of memories, in order of key or the newest first: asked of index.db, then opened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cis.api.memories.memory_schema import (
    PAGE_MAX,
    ListMemories,
    Memory,
    Page,
)
from cis.api.memories.recalling import current
from cis.api.memories.values import memory_of
from cis.api.reading import Readers
from cis.crdt import Policy
from cis.errors import UsageError
from cis.model import MemoryId
from cis.node.home.local import LocalNode
from cis.store.read import Reader, Recalled
from cis.wire.content import KEY_BYTES_MAX

_CURSOR = "\x1f"
"""Parts the two places in a page's ``next``: key and space, or time and number; no key holds it."""
_LAST = (1 << 63) - 1
_LAST_KEY = chr(0x10FFFF) * (KEY_BYTES_MAX // 4)
"""What begins with a prefix comes no later than that and this."""
_LIVE = "(d.expires_ms = 0 OR d.expires_ms > :now)"
_FILTERS = """
    AND (:space IS NULL OR d.space = :space) AND (:category IS NULL OR d.category = :category)
    AND (:tag IS NULL OR instr(char(10) || d.tags || char(10), char(10) || :tag || char(10)))"""
_MATCHING = f"substr(d.key, 1, length(:prefix)) = :prefix AND {_LIVE} {_FILTERS}"
_LIST = f"""
    SELECT d.memory, d.space, d.key, d.space FROM doc d
    WHERE (d.key, d.space) > (:after, :after_no) AND d.key <= :last AND {_MATCHING}
    ORDER BY d.key, d.space LIMIT :limit"""  # noqa: S608 - of constants; values are bound
_NEWEST = f"""
    SELECT d.memory, d.space, d.hlc, d.no FROM doc d WHERE (d.hlc, d.no) < (:after, :after_no) AND {_MATCHING}
    ORDER BY d.hlc DESC, d.no DESC LIMIT :limit"""  # noqa: S608 - of constants; values are bound


class BrowsingOperations:
    """Lists."""

    def __init__(self, local: LocalNode, policy: Policy, readers: Readers) -> None:
        self._local = local
        self._policy = policy
        self._readers = readers

    def page(self, request: ListMemories) -> Page:
        """List memories in the order asked for."""
        limit = _limit(request.limit)
        after, after_no = _place(request)
        rows = self._rows(
            _NEWEST if request.order == "newest" else _LIST,
            space=self._number(request.space),
            category=request.category,
            tag=request.tag,
            prefix=request.prefix,
            last=request.prefix + _LAST_KEY,
            after=after,
            after_no=after_no,
            limit=limit,
        )
        with self._readers.snapshot() as reader:
            memories = tuple(self._open(reader, rows))
        end = f"{rows[-1][2]}{_CURSOR}{rows[-1][3]}" if len(rows) == limit else None
        return Page(memories, end)

    def _rows(self, statement: str, **values: object) -> list[Any]:
        with self._local.store.index() as connection:
            rows: list[Any] = connection.execute(statement, {"now": self._local.clock_ms(), **values}).fetchall()
        return rows

    def _number(self, name: str | None) -> int | None:
        """Return a space's number in the tables, None for any space."""
        if name is None:
            return None
        space = self._local.cluster.space(name)
        with self._readers.snapshot() as reader:
            return reader.space_number(space)

    def _recall(self, reader: Reader, rows: Iterable[Sequence[Any]]) -> Iterable[Recalled]:
        now_ms = self._local.clock_ms()
        for memory, number, *_ in rows:
            space = reader.space(number)
            recalled = current(reader.recall_by_id(MemoryId(memory), space), self._policy, now_ms)
            if recalled is not None:
                yield recalled

    def _open(self, reader: Reader, rows: Iterable[Sequence[Any]]) -> Iterable[Memory]:
        return (memory_of(recalled, self._local.cluster) for recalled in self._recall(reader, rows))


def _place(request: ListMemories) -> tuple[str | int, int]:
    """Return after what to begin: a key and a space's number, or a time and a memory's number."""
    after, _, number = (request.after or "").partition(_CURSOR)
    if request.order == "key":
        first = min(int(number), _LAST) if number.isdecimal() else _LAST
        return (after, first) if after >= request.prefix else (request.prefix, -1)
    if request.after is not None and not (after.isdecimal() and number.isdecimal()):
        raise UsageError("the newest come after where `next` said, not after a key")
    return (min(int(after), _LAST), min(int(number), _LAST)) if request.after is not None else (_LAST, _LAST)


def _limit(wanted: int) -> int:
    if not 0 < wanted <= PAGE_MAX:
        raise UsageError(f"a limit of {wanted}: it is 1 to {PAGE_MAX}")
    return wanted
