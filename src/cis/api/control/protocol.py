"""How an operation is asked for, wherever it is carried out: in this process, or in the daemon.

Each operation is a request type that knows its path and the type of its reply; the server's routes, the OpenAPI
document and the client all follow from that one statement::

    node.call(SetMemory(key="editor", value="dark mode"))      # Saved
    for event in node.stream(WatchMemories()): ...             # WatchEvent
"""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar, get_args

import msgspec

from cis.errors import Changed, CisError, Denied, Elsewhere, PeerFault, StoreError, TimedOut, Unavailable, UsageError

BODY_BYTES_MAX = 32 << 20
"""The largest request or reply of the control API; batches of an import are cut well below."""

Reply = TypeVar("Reply")
_KINDS: tuple[type[CisError], ...] = (
    UsageError, Changed, Denied, TimedOut, Elsewhere, Unavailable, StoreError, CisError,
)  # fmt: skip
_STATUS = {
    UsageError: 400,
    Changed: 409,
    Denied: 403,
    TimedOut: 504,
    Elsewhere: 503,
    Unavailable: 503,
    StoreError: 500,
    CisError: 422,
}


class Request(msgspec.Struct, Generic[Reply], frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all requests. ``stream`` ones are answered by any number of replies, one JSON value a line."""

    path: ClassVar[str]
    stream: ClassVar[bool] = False


class Failure(msgspec.Struct, frozen=True):
    """How an error travels; ``kind`` names the class of `cis.errors`."""

    error: str
    exit_code: int
    kind: str


def reply_type(request: type[Request[Any]]) -> Any:  # noqa: ANN401 - a type, or a union of types
    """Return the type of the reply (of each, where it streams)."""
    (base,) = request.__orig_bases__  # type: ignore[attr-defined] # set on generic classes
    return get_args(base)[0]


def failure_of(error: CisError) -> Failure:
    """Return an error as it travels."""
    kind = next(kind for kind in _KINDS if isinstance(error, kind))
    return Failure(str(error), error.exit_code, kind.__name__)


def error_of(failure: Failure) -> CisError:
    """Return the error a failure stands for."""
    kind = next((kind for kind in _KINDS if kind.__name__ == failure.kind), CisError)
    return kind(failure.error)


def status_of(error: CisError) -> int:
    """Return the HTTP status of an error."""
    return next(_STATUS[kind] for kind in _KINDS if isinstance(error, kind))


def plain(error: CisError) -> CisError:
    """Return an error a user can act on for one met with a peer."""
    return Denied(f"refused by the other node: {error.detail}") if isinstance(error, PeerFault) else error
