"""Values fetched from other devices to be read: each proven by its header, kept in memory for a while, not written."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

from cis.model import Dot
from cis.store.audit_log import LogRows
from cis.store.database import fetch
from cis.store.replicas import rid_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cis.model import SpaceId
    from cis.store.read import Part, Reader, Recalled
    from cis.store.rows import Stored

FETCHED_BYTES_MAX = 16 << 20


class Fetched:
    """The sealed bodies that were fetched last, up to so many bytes; from any thread."""

    def __init__(self, bytes_max: int = FETCHED_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bodies: OrderedDict[tuple[SpaceId, Dot], bytes] = OrderedDict()
        self._guard = threading.Lock()
        self.bytes = 0

    def keep(self, space: SpaceId, bodies: Mapping[Dot, bytes]) -> None:
        """Keep some; those used longest ago make room."""
        with self._guard:
            for dot, sealed in bodies.items():
                self.bytes -= len(self._bodies.pop((space, dot), b""))
                self._bodies[space, dot] = sealed
                self.bytes += len(sealed)
            while self.bytes > self._bytes_max:
                _, gone = self._bodies.popitem(last=False)
                self.bytes -= len(gone)

    def find(self, space: SpaceId, dots: Iterable[Dot]) -> dict[Dot, bytes]:
        """Return those that are here."""
        with self._guard:
            found = {dot: self._bodies[space, dot] for dot in dots if (space, dot) in self._bodies}
            for dot in found:
                self._bodies.move_to_end((space, dot))
        return found


def proven(reader: Reader, space: SpaceId, bodies: Mapping[Dot, bytes]) -> dict[Dot, bytes]:
    """Return those of the bodies that are what was signed: their hash is in the log held here."""
    logs = {log.replica: log for log in LogRows.of_space(reader.connection, space)}
    return {
        dot: sealed
        for dot, sealed in bodies.items()
        if dot.replica in logs and logs[dot.replica].is_signed(dot.seq, sealed)
    }


def bodies_here(reader: Reader, space: SpaceId, dots: Iterable[Dot]) -> dict[Dot, bytes]:
    """Return those of the bodies of a space that are here."""
    query = (
        "SELECT b.sealed FROM body b WHERE b.rid = "
        "(SELECT (r.no << 40) + ?3 FROM replica r JOIN space s ON s.no = r.space WHERE s.id = ?1 AND r.id = ?2)"
    )
    found = {dot: reader.connection.execute(query, (space, dot.replica, dot.seq)).get for dot in dots}
    return {dot: sealed for dot, sealed in found.items() if sealed is not None}


def lacking(recalled: Recalled, *, whole: bool) -> list[Dot]:
    """Return the values that are elsewhere by choice: of what is shown, or ``whole`` of all that stands beside it."""
    parts = (*recalled.parts, *recalled.siblings) if whole else recalled.parts
    return [part.change.dot for part in parts if part.elsewhere]


def filled(reader: Reader, recalled: Recalled, bodies: Mapping[Dot, bytes]) -> Recalled:
    """Return a memory with the values that were fetched, as far as their changes are still there."""
    numbers = dict(fetch(reader.connection, "SELECT id, no FROM replica"))
    wanted = {
        rid_of(numbers[part.change.dot.replica], part.change.dot.seq): bodies[part.change.dot]
        for part in (*recalled.parts, *recalled.siblings)
        if part.elsewhere and part.change.dot in bodies and part.change.dot.replica in numbers
    }
    stored = {one.change.dot: _with_body(one, wanted[one.rid]) for one in reader.rows.stored(wanted)}

    def opened(part: Part) -> Part:
        return reader.part(stored[part.change.dot]) if part.change.dot in stored else part

    parts, siblings = (tuple(map(opened, some)) for some in (recalled.parts, recalled.siblings))
    return replace(recalled, parts=parts, siblings=siblings)


def _with_body(stored: Stored, sealed: bytes) -> Stored:
    return replace(stored, change=replace(stored.change, body=sealed))
