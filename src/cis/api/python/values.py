"""Between Python values and what travels: text is `str`, bytes are `bytes`, all else is JSON.

The schema's types come back as they are but for their values: bytes, which travel as base64, are bytes again.
"""

from __future__ import annotations

import base64
import contextlib
import math
import sys
from array import array
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias, TypeVar

from msgspec.structs import replace

from cis.api.memories.memory_schema import Conflict, Found, Memory, Sibling, Version, WatchEvent
from cis.api.peers.gossip_schema import Heard, Listening
from cis.api.peers.network_schema import PeerInfo
from cis.api.python.message import Message
from cis.errors import UsageError

Value: TypeAlias = "str | bytes | bool | int | float | list[Any] | dict[str, Any] | None"
"""What a memory can hold."""
Form: TypeAlias = Literal["text", "json", "bytes"]
_Shown = TypeVar("_Shown", Memory, Sibling, Version)
_DID_CIS = "did:cis:"
_DID_KEY = "did:key:"


def packed(value: Value) -> tuple[Any, Form]:
    """Return a value as it travels, and its form; `UsageError` for what JSON does not hold exactly."""
    if isinstance(value, str):
        return value, "text"
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode(), "bytes"
    from cis.api.exchange.json_text import check_json  # noqa: PLC0415 - slow to load, and most values are text

    return check_json(value), "json"


def by_form(values: Iterable[Value]) -> list[tuple[tuple[Any, ...], Form]]:
    """Return elements of a set as they travel, those of one form together."""
    groups: dict[Form, list[Any]] = {}
    for value in values:
        travelling, form = packed(value)
        groups.setdefault(form, []).append(travelling)
    return [(tuple(group), form) for form, group in groups.items()]


def packed_vector(vector: Iterable[float] | None) -> str | None:
    """Return an embedding as base64 of float32, little-endian; `UsageError` for what is no row of finite numbers."""
    if vector is None:
        return None
    try:
        numbers = array("f", vector)
    except TypeError as error:
        raise UsageError(f"a vector is a row of numbers: {error}") from None
    if not numbers or not all(map(math.isfinite, numbers)):
        raise UsageError("a vector is a row of finite numbers, one at least, as float32 holds them")
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()


def milliseconds(moment: datetime | None) -> int | None:
    """Return Unix milliseconds; a time without a zone is local, and what no clock shows is a `UsageError`."""
    try:
        return None if moment is None else round(moment.timestamp() * 1000)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"{moment} is no time to look for: {error}") from None


def lifetime(seconds: float | None) -> float | None:
    """Return a time to live as it travels; `UsageError` for what JSON has no number for."""
    if seconds is not None and not math.isfinite(seconds):
        raise UsageError(f"a time to live of {seconds} s: give seconds above 0, or leave it out")
    return seconds


def words(tags: Iterable[str]) -> tuple[str, ...]:
    """Return tags as they travel; `UsageError` for a single word, which would be one tag for each letter."""
    if isinstance(tags, str):
        raise UsageError(f"tags are several words: write [{tags!r}]")
    return tuple(tags)


def shown(one: _Shown) -> _Shown:
    """Return a memory, one of its values or one of its changes with bytes as bytes."""
    if one.form == "bytes":
        return replace(one, value=_unpacked(one.value))
    if not isinstance(one, Version) and one.type == "set" and one.value is not None:
        return replace(one, value=[_unpacked(element) for element in one.value])
    return one


def shown_found(found: Found) -> Found:
    """Return what a search found, as `shown`."""
    return replace(found, hits=tuple(replace(hit, memory=shown(hit.memory)) for hit in found.hits))


def shown_conflict(conflict: Conflict) -> Conflict:
    """Return a conflict, as `shown`."""
    return replace(conflict, values=tuple(map(shown, conflict.values)))


def shown_event(event: WatchEvent) -> WatchEvent:
    """Return a change, as `shown`."""
    return event if event.memory is None else replace(event, memory=shown(event.memory))


def message_of(heard: Listening | Heard) -> Message | None:
    """Return a message that was heard, None for the word that hearing has begun."""
    if isinstance(heard, Listening):
        return None
    data = base64.b64decode(heard.base64) if heard.base64 is not None else (heard.text or "").encode()
    return Message(heard.topic, data, heard.author, heard.did, heard.sent_ms, heard.missed)


def peer_of(peers: Sequence[PeerInfo], text: str) -> PeerInfo:
    """Return the peer meant by a name, ``did:cis:NAME``, a DID or a prefix of one; `UsageError` where not just one."""
    wanted = text.removeprefix(_DID_CIS)
    tests: tuple[Callable[[PeerInfo], bool], ...] = (
        lambda one: wanted in (one.name, one.did),
        lambda one: bool(wanted) and one.name.startswith(wanted),
        lambda one: len(wanted) > len(_DID_KEY) and (one.did or "").startswith(wanted),
    )
    for meant in tests:
        found = [one for one in peers if meant(one)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"{text!r} could be {', '.join(one.name for one in found)}: write more of it")
    raise UsageError(f"there is no peer {text!r}: there are {', '.join(one.name for one in peers) or 'none'}")


def _unpacked(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return bytes for what bytes travel as."""
    if isinstance(value, dict) and list(value) == ["base64"] and isinstance(value["base64"], str):
        with contextlib.suppress(ValueError):  # a member's JSON that only looks like it
            return base64.b64decode(value["base64"], validate=True)
    return value
