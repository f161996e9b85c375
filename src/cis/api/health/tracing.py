"""What became of one memory in the store of this node: by the headers that are kept, whether it is shown or not."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cis.api.memories.recalling import current
from cis.crdt import Policy
from cis.model import Change, Dot, Kind, SpaceId
from cis.store.database import fetch
from cis.store.read import Reader
from cis.store.rows import Stored
from cis.trust.sealing import SpaceKeys, Unreadable

if TYPE_CHECKING:
    import apsw

NEAR_MAX = 3
_NEAR = "SELECT key FROM doc WHERE key = ?1 COLLATE NOCASE AND key != ?1 ORDER BY key LIMIT ?2"


class Fate(enum.Enum):
    """What became of a memory here."""

    SHOWN = "shown"
    EXPIRED = "expired"
    DELETED = "deleted"
    HELD = "held"
    """dated ahead of this clock, and shown later"""
    ELSEWHERE = "elsewhere"
    """its value is on other devices by choice"""
    BARE = "bare"
    """its header came, its value did not"""
    SEALED = "sealed"
    """its value does not open"""


@dataclass(frozen=True, slots=True)
class Trace:
    """A memory in one space: what became of it, by which change, and what a device must hold to have it alike."""

    space: SpaceId
    name: str
    fate: Fate
    latest: Change
    dots: tuple[Dot, ...]
    expires_ms: int = 0
    why: str = ""
    """why the value does not open"""
    coming: tuple[Change, ...] = ()
    """changes of it that are held back, as they are dated ahead"""


def trace(reader: Reader, keys: SpaceKeys, name: str, key: str, policy: Policy, now_ms: int) -> Trace | None:
    """Return what became of a memory in a space; None where no change of it is known. It may scan the log."""
    memory, space = keys.memory_id(key), keys.space
    live = reader.rows.live(memory)
    held = [one.change for one, _ in reader.rows.held() if one.change.memory == memory]
    coming = tuple(sorted(held, key=_rank))
    whole = reader.recalled(memory, space, live, Policy.CRDT)
    if whole is None:
        return _absent(live or reader.rows.history(memory), coming, space, name)
    fate, why = Fate.SHOWN, ""
    latest, dots = whole.latest.change, tuple(part.change.dot for part in (*whole.parts, *whole.siblings))
    stored = next(one for one in live if one.change.dot == latest.dot)
    if whole.latest.elsewhere:
        fate = Fate.ELSEWHERE if current(whole, policy, now_ms) is not None else Fate.EXPIRED
    elif whole.latest.content is None:
        fate, why = _unread(reader, stored)
    elif current(whole, policy, now_ms) is None:
        fate = Fate.EXPIRED
    return Trace(space, name, fate, latest, dots, whole.expires_ms, why, coming)


def near(index: apsw.Connection, key: str) -> list[str]:
    """Return keys that differ from this one in the case of letters alone, a few."""
    return [found for (found,) in fetch(index, _NEAR, (key, NEAR_MAX))]


def _absent(known: Sequence[Stored], coming: tuple[Change, ...], space: SpaceId, name: str) -> Trace | None:
    """A memory that shows nothing: deleted, or not yet begun."""
    ended = [one.change for one in known if one.change.kind is not Kind.VECTOR]
    if coming and not any(one.kind in {Kind.DELETE, Kind.REMOVE} for one in ended):
        return Trace(space, name, Fate.HELD, coming[-1], tuple(one.dot for one in coming), coming=coming)
    if not ended:
        return None
    latest = max(ended, key=_rank)
    return Trace(space, name, Fate.DELETED, latest, (latest.dot,), coming=coming)


def _unread(reader: Reader, stored: Stored) -> tuple[Fate, str]:
    try:
        reader.open(stored)
    except Unreadable as error:
        return Fate.BARE if stored.change.body is None else Fate.SEALED, str(error)
    raise AssertionError("what was not read a moment ago does not open in the same snapshot")


def _rank(change: Change) -> tuple[int, Dot]:
    return change.hlc, change.dot
