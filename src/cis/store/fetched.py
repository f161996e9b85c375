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
    from collections.abc import Iterable, Mapping, Sequence

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


def is_proven(reader: Reader, space: SpaceId, dot: Dot, sealed: bytes) -> bool | None:
    """Tell whether that is the body that was signed: its hash is in the log here; None where its header is not held."""
    log = next((log for log in LogRows.of_space(reader.connection, space) if log.replica == dot.replica), None)
    return log.is_signed(dot.seq, sealed) if log is not None else None


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


def opened(reader: Reader, parts: Sequence[Part], bodies: Mapping[Dot, bytes]) -> tuple[Part, ...]:
    """Return parts with the values that were fetched, as far as their changes are still there."""
    numbers = dict(fetch(reader.connection, "SELECT id, no FROM replica"))
    dots = [part.change.dot for part in parts if part.elsewhere and part.change.dot in bodies]
    wanted = {rid_of(numbers[dot.replica], dot.seq): bodies[dot] for dot in dots if dot.replica in numbers}
    stored = {one.change.dot: _with_body(one, wanted[one.rid]) for one in reader.rows.stored(wanted)}
    return tuple(
        reader.part(stored[part.change.dot]) if part.elsewhere and part.change.dot in stored else part for part in parts
    )


def _with_body(stored: Stored, sealed: bytes) -> Stored:
    return replace(stored, change=replace(stored.change, body=sealed))
