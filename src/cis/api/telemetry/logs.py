"""Logging: one line an event on stderr, for people or as JSON, with the fields named here and no others (RULES F5).

How much is told is set by area (`cis.api.configuration.log_levels`): ``warning,p2p=debug``; of libraries it is
WARNING. Below debug, what could tell a reader of the log where members are, or hand out a key, is a word instead, and
of errors nobody foresaw only kinds and places are shown, since their texts may quote anything. Where an area is at
debug all of it is shown. What peers wrote is escaped at every level. A line of code that speaks too often is left out
and counted (`log_limits`), but for areas at debug.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, MutableMapping
from typing import Any, Literal

import structlog

from cis.api.configuration.log_levels import AREAS, levels_of
from cis.api.telemetry.log_limits import WINDOW_S, LineLimit
from cis.api.text import escaped, escaped_json, redacted
from cis.errors import UsageError

LEVEL_VARIABLE = "CIS_LOG"
Form = Literal["auto", "console", "json"]
"""``auto`` is lines for people, in colour on a terminal; ``console`` the same with no colour."""
FIELDS = ("timestamp", "level", "area", "event", "exception")
_OURS = "cis"
_ERRORS_MAX = 16
"""Errors shown of one event, with what caused them and what they group."""
_Event = MutableMapping[str, Any]


def set_up_logging(level: str | None = None, form: Form = "auto") -> None:
    """Send everything that is logged to stderr, from now on so; `UsageError` for a level or an area there is not.

    Without a ``level`` it is what ``CIS_LOG`` says, for commands that have no settings.
    """
    levels = levels_of(level) if level is not None else _levels_of_environment()
    root = logging.getLogger()
    for before in root.handlers:
        if isinstance(before, LogLines):
            before.close()
    root.handlers[:] = [LogLines(form)]
    root.setLevel(logging.WARNING)
    for name in sorted({_OURS, *levels, *(logger for loggers in AREAS.values() for logger in loggers)}):
        logging.getLogger(name).setLevel(levels.get(name, logging.NOTSET))


def _levels_of_environment() -> dict[str, int]:
    told = os.environ.get(LEVEL_VARIABLE, "info")
    try:
        return levels_of(told)
    except UsageError as error:
        raise UsageError(f"environment {LEVEL_VARIABLE}={told!r}: {error}") from None


def log_counts() -> tuple[dict[str, int], int]:
    """Return how many events were logged since logging was set up, by level, and how many of them were left out."""
    handler = next((one for one in logging.getLogger().handlers if isinstance(one, LogLines)), None)
    return (dict(handler.counts), handler.limit.left_out) if handler is not None else ({}, 0)


class LogLines(logging.StreamHandler[Any]):
    """Writes events to stderr; ``counts`` holds how many there were, by level."""

    def __init__(self, form: Form) -> None:
        super().__init__(sys.stderr)
        colors = form == "auto" and sys.stderr.isatty()
        as_json = form == "json"
        self._plain = formatter(tells_all=False, colors=colors, as_json=as_json)
        self._full = formatter(tells_all=True, colors=colors, as_json=as_json)
        self.limit = LineLimit()
        self.counts: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Write an event, and before it how many others were left out by now."""
        self.counts[record.levelname.lower()] += 1
        now = time.monotonic()
        self._tell_left_out(now)
        if _at_debug(record) or self.limit.admits(f"{record.pathname}:{record.lineno}", now):
            super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of an event: in full where its area is at debug."""
        return (self._full if _at_debug(record) else self._plain).format(record)

    def close(self) -> None:
        """Tell what was left out lately, and end."""
        self._tell_left_out(time.monotonic() + WINDOW_S)
        super().close()

    def _tell_left_out(self, now: float) -> None:
        for place, count in self.limit.due(now):
            text = f"{count} more events like those from {os.path.basename(place)} were left out"  # noqa: PTH119 - a text
            super().emit(logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, (), None))


def _at_debug(record: logging.LogRecord) -> bool:
    return record.name.startswith(_OURS) and logging.getLogger(record.name).isEnabledFor(logging.DEBUG)


def formatter(*, tells_all: bool, colors: bool = False, as_json: bool = False) -> logging.Formatter:
    """Return what makes a line of an event; ``tells_all`` leaves addresses, keys and texts of errors in."""
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    exceptions = structlog.processors.format_exc_info if tells_all else _places_of_errors
    console = structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_log_level, stamp],
        processors=[
            *((_with_area,) if as_json else ()),
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            exceptions,
            *(() if tells_all else (_redacted,)),
            _allowed,
            *((structlog.processors.JSONRenderer(), _safe_json) if as_json else (_safe, console)),
        ],
    )


def _with_area(_: object, __: str, event: _Event) -> _Event:
    """Add the room an event comes from; of libraries, their name."""
    parts = event["_record"].name.split(".")
    event["area"] = parts[1] if parts[0] == _OURS and len(parts) > 1 else parts[0]
    return event


def _allowed(_: object, __: str, event: _Event) -> _Event:
    return {name: value for name, value in event.items() if name in FIELDS}


def _redacted(_: object, __: str, event: _Event) -> _Event:
    return {name: redacted(value) if name == "event" else value for name, value in event.items()}


def _safe(_: object, __: str, event: _Event) -> _Event:
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = escaped(value, keep="\n\t" if name == "exception" else "")
    return event


def _safe_json(_: object, __: str, line: str) -> str:
    return escaped_json(line)


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
