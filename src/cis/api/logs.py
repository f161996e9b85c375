"""Logging of the daemon: one line an event on stderr, with the fields named here and no others (RULES F5).

The level of cis itself is INFO, or what ``CIS_LOG`` says (debug, info, warning, error); of libraries it is WARNING.
Below debug, what could tell a reader of the log where members are, or hand out a key, is a word instead, and of
errors nobody foresaw only kinds and places are shown, since their texts may quote anything. At debug all is shown.
What peers wrote is escaped at every level.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from typing import Any

import structlog

from cis.api.text import escaped, redacted
from cis.errors import UsageError

LEVEL_VARIABLE = "CIS_LOG"
FIELDS = ("timestamp", "level", "event", "exception")
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_ERRORS_MAX = 16
"""Errors shown of one event, with what caused them and what they group."""
_Event = MutableMapping[str, Any]


def set_up_logging() -> None:
    """Send everything that is logged to stderr; `UsageError` for a level there is not."""
    word = os.environ.get(LEVEL_VARIABLE, "info").lower()
    if word not in _LEVELS:
        raise UsageError(f"environment {LEVEL_VARIABLE}={word!r}: there are {', '.join(_LEVELS)}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(tells_all=word == "debug", colors=sys.stderr.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("cis").setLevel(_LEVELS[word])


def formatter(*, tells_all: bool, colors: bool = False) -> logging.Formatter:
    """Return what makes a line of an event; ``tells_all`` leaves addresses, keys and texts of errors in."""
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    exceptions = structlog.processors.format_exc_info if tells_all else _places_of_errors
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_log_level, stamp],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            exceptions,
            *(() if tells_all else (_redacted,)),
            _allowed,
            _safe,
            structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False),
        ],
    )


def _allowed(_: object, __: str, event: _Event) -> _Event:
    return {name: value for name, value in event.items() if name in FIELDS}


def _redacted(_: object, __: str, event: _Event) -> _Event:
    return {name: redacted(value) if name == "event" else value for name, value in event.items()}


def _safe(_: object, __: str, event: _Event) -> _Event:
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = escaped(value, keep="\n\t" if name == "exception" else "")
    return event


def _places_of_errors(_: object, __: str, event: _Event) -> _Event:
    """Replace an error by its kind and the lines of code it passed, with those that led to it."""
    given = event.pop("exc_info", None)
    error = given[1] if isinstance(given, tuple) else given if isinstance(given, BaseException) else sys.exception()
    if given and error is not None:
        event["exception"] = "\n".join(line for one in _related(error) for line in _shown(one))
    return event


def _related(error: BaseException) -> Iterator[BaseException]:
    waiting, seen = [error], 0
    while waiting and seen < _ERRORS_MAX:
        one = waiting.pop()
        seen += 1
        yield one
        cause = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
        grouped = one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        waiting += [*((cause,) if cause is not None else ()), *reversed(grouped)]


def _shown(error: BaseException) -> Iterator[str]:
    yield f"{type(error).__name__} at"
    for frame in traceback.extract_tb(error.__traceback__):
        yield f"  {frame.filename}:{frame.lineno} in {frame.name}"
