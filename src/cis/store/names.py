"""What is kept of a value that is elsewhere by choice: its name, by which it is listed, judged and found.

A name is taken from the body while that is here, and kept in a row of its own, so that index.db can be made anew
without the body. It lives and dies as the body would.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import apsw
import msgspec

from cis.model import Kind, MemoryId
from cis.store.database import fetch
from cis.store.replicas import rid_of
from cis.trust.sealing import Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from cis.store.read import Reader
    from cis.wire.content import Content

OPENED_AT_ONCE = 64
"""Bodies in memory at a time while names are taken: at most some 20 MiB."""
_UNNAMED = """
    SELECT rid FROM head h WHERE rid BETWEEN ? AND ? AND substr(record, 33, 1) = ?
    AND EXISTS (SELECT 1 FROM body b WHERE b.rid = h.rid) AND NOT EXISTS (SELECT 1 FROM name n WHERE n.rid = h.rid)
    ORDER BY rid"""
_NAMED = """
    SELECT n.rid, n.name FROM name n WHERE n.rid BETWEEN ? AND ?
    AND EXISTS (SELECT 1 FROM body b WHERE b.rid = n.rid) ORDER BY n.rid"""


class Name(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What is listed of a value; ``size`` is its length in bytes. The fields are those of `Content`."""

    key: str
    category: str
    tags: tuple[str, ...]
    form: int
    ttl_ms: int
    size: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Name).decode


def name_of(content: Content) -> Name:
    """Return the name of a value."""
    return Name(content.key, content.category, content.tags, content.form, content.ttl_ms, len(content.value))


def decode_name(stored: bytes, memory: MemoryId, memory_id: Callable[[str], MemoryId]) -> Name | None:
    """Return a name as it is kept; None where there is none, or it is that of another memory: rows may be damaged."""
    try:
        name = _decode(stored) if stored else None
    except msgspec.MsgspecError:
        return None
    return name if name is not None and memory_id(name.key) == memory else None


def named(stored: bytes) -> Name | None:
    """Return a name as it is kept, whatever it is the name of; None where it cannot be read."""
    try:
        return _decode(stored) if stored else None
    except msgspec.MsgspecError:
        return None


def unnamed(connection: apsw.Connection, bounds: Mapping[int, int]) -> list[int]:
    """Return the rows of values that are here and have no name yet, by log up to its bound."""
    kind = bytes((Kind.PUT,))
    return [
        rid
        for number, last in bounds.items()
        for (rid,) in fetch(connection, _UNNAMED, (rid_of(number, 1), last, kind))
    ]


def names_here(connection: apsw.Connection, bounds: Mapping[int, int]) -> Iterator[tuple[int, Name | None]]:
    """Yield the names of values that are here as well, by log up to its bound."""
    for number, last in bounds.items():
        for rid, stored in fetch(connection, _NAMED, (rid_of(number, 1), last)):
            yield rid, named(stored)


def take_names(reader: Reader, rids: Sequence[int]) -> list[tuple[int, bytes, bytes]]:
    """Open values; return row, name and header of those that can be read here, to be kept by `keep_names`."""
    taken: list[tuple[int, bytes, bytes]] = []
    for at in range(0, len(rids), OPENED_AT_ONCE):
        for stored in reader.rows.stored(rids[at : at + OPENED_AT_ONCE]):
            try:
                taken.append((stored.rid, _encode(name_of(reader.open(stored))), stored.header))
            except Unreadable:
                continue  # it stays whole: nobody could tell later what it was
    return taken


def keep_names(connection: apsw.Connection, names: Iterable[tuple[int, bytes, bytes]]) -> None:
    """Keep names, in the caller's transaction, of rows that are still what they were taken from."""
    connection.executemany(
        "INSERT OR REPLACE INTO name SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM body WHERE rid = ?1) "
        "AND EXISTS (SELECT 1 FROM head WHERE rid = ?1 AND record = ?3)",
        list(names),
    )


def names_of_absent(connection: apsw.Connection, rids: array[int]) -> dict[int, bytes]:
    """Return by row the names kept of bodies that are elsewhere by choice."""
    query = (
        "SELECT n.rid, n.name FROM carray(?1) c CROSS JOIN name n ON n.rid = c.value "
        "WHERE EXISTS (SELECT 1 FROM absent a WHERE a.rid = n.rid)"
    )
    return dict(fetch(connection, query, (apsw.carray(rids),))) if rids else {}
