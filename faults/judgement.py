"""What is found in a store after a fault: it opens, is whole, has lost nothing acknowledged, and goes on.

The same for every fault: SQLite's own check, the check of all logs and of what is derived from them, every memory and
counter against the ledger, the index against the memories, and a last write that must be taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cis.errors import CisError
from cis.model import ReplicaId
from cis.store.audit_check import check_space
from cis.store.database import fetch
from cis.store.store import Store
from faults.ledger import Ledger, Value
from tests.stores import PRIVATE_KEYS, SPACE, WAIT_S, Author, open_store, put
from tests.stores import write as write_all

_LAST = "judged"
"""The memory written to see that the store takes writes."""


@dataclass
class Found:
    """What a store shows, and what is wrong with it."""

    values: dict[str, Value] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def judge(folder: Path, author: Author, ledger: Ledger) -> Found:
    """Open the store of a folder and look at all of it."""
    found = Found()
    try:
        with open_store(folder, author) as store:
            found.wrong += _look(store, author, ledger, found)
            write_all(store, put(_LAST, "taken"))
    except (CisError, AssertionError) as error:
        found.wrong.append(f"the store does not work: {error!r}")
    return found


def _look(store: Store, author: Author, ledger: Ledger, found: Found) -> Iterator[str]:
    yield from store.check()
    with store.snapshot() as reader:
        for space in (SPACE, PRIVATE_KEYS.space):
            checked = check_space(reader, space, author.clock())
            if checked.damaged or checked.suspects or checked.ends:
                yield f"the logs are not what was signed, or not what is shown: {checked}"
        held = reader.vector(SPACE)
    for replica, last in sorted(ledger.told.items()):
        if (seq := held.seqs.get(ReplicaId(replica), 0)) < last:
            yield f"others were told of {last} changes, and {seq} are held"
    yield from _memories(store, ledger, found)
    yield from _index(store, found)


def _memories(store: Store, ledger: Ledger, found: Found) -> Iterator[str]:
    for key in ledger.keys:
        recalled = store.reader.recall(SPACE, key)
        content = recalled.latest.content if recalled is not None else None
        if recalled is not None and content is None:
            yield f"{key} has lost its body"
            continue
        found.values[key] = content.value if content is not None else None
        if ledger.lost(key, found.values[key]):
            yield f"{key} shows {_brief(found.values[key])}, which was not acknowledged last nor tried since"
    for key in ledger.counters:
        recalled = store.reader.recall(SPACE, key)
        parts = recalled.parts if recalled is not None else ()
        found.totals[key] = sum(part.content.added for part in parts if part.content is not None)
        if ledger.miscounted(key, found.totals[key]):
            yield f"{key} counts {found.totals[key]}, which is less than acknowledged or more than tried"


def _index(store: Store, found: Found) -> Iterator[str]:
    """Compare the index, once it has caught up, with the memories."""
    shown = {key for key, value in found.values.items() if value is not None}
    shown |= {key for key, total in found.totals.items() if total}
    with store.index(WAIT_S) as index:
        listed = {key for (key,) in fetch(index, "SELECT key FROM doc")} - {_LAST}
        complaints = [complaint for (complaint,) in fetch(index, "PRAGMA integrity_check") if complaint != "ok"]
    yield from (f"the index: {complaint}" for complaint in complaints)
    if listed != shown:
        yield f"the index lists {sorted(listed - shown)} that are not there, and lacks {sorted(shown - listed)}"


def _brief(value: Value) -> str:
    return "nothing" if value is None else f"{value[:12]!r}… of {len(value)} bytes"
