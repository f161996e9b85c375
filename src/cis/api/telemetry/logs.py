"""Logging: one line an event on stderr, for people or as JSON, with the fields named here and no others (RULES F5).

How much is told is set by area (`cis.api.configuration.log_levels`): ``warning,p2p=debug``; of libraries it is
WARNING. Below debug, what could tell a reader of the log where members are, or hand out a key, is a word instead, and
of errors nobody foresaw only kinds and places are shown, since their texts may quote anything. Where an area is at
debug all of it is shown. What peers wrote is escaped at every level. A line of code that speaks too often is left out
and counted (`log_limits`), but for areas at debug.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal

from cis.api.configuration.log_levels import AREAS, levels_of
from cis.api.telemetry.log_limits import WINDOW_S, LineLimit
from cis.api.text import escaped, escaped_json, redacted
from cis.errors import UsageError

LEVEL_VARIABLE = "CIS_LOG"
Form = Literal["auto", "console", "json"]
"""``auto`` is lines for people, in colour on a terminal; ``console`` the same with no colour."""
_OURS = "cis"
_ERRORS_MAX = 16
"""Errors shown of one event, with what caused them and what they group."""
_LEVEL_WIDTH = len("critical ")
_DIM, _BOLD = "2", "1"
_COLORS = {logging.INFO: "32;1", logging.WARNING: "33;1", logging.ERROR: "31;1", logging.CRITICAL: "31;1"}


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
    return _JsonLine(tells_all=tells_all) if as_json else _Line(tells_all=tells_all, colors=colors)


class _Fields(logging.Formatter):
    """Reads of an event what its line may say, and no more."""

    def __init__(self, *, tells_all: bool) -> None:
        super().__init__()
        self._tells_all = tells_all

    def fields(self, record: logging.LogRecord) -> dict[str, str]:
        event = record.getMessage()
        fields = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "level": record.levelname.lower(),
            "area": _area(record.name),
            "event": event if self._tells_all else redacted(event),
        }
        if record.exc_info and (error := record.exc_info[1]) is not None:
            lines = (line for one in _related(error) for line in _shown(one))
            fields["exception"] = self.formatException(record.exc_info) if self._tells_all else "\n".join(lines)
        return fields


class _JsonLine(_Fields):
    def format(self, record: logging.LogRecord) -> str:
        return escaped_json(json.dumps(self.fields(record)))


class _Line(_Fields):
    """For people: with no area, and the exception on lines of its own."""

    def __init__(self, *, tells_all: bool, colors: bool) -> None:
        super().__init__(tells_all=tells_all)
        self._colors = colors

    def format(self, record: logging.LogRecord) -> str:
        fields = self.fields(record)
        level = self._painted(f"{fields['level']:<{_LEVEL_WIDTH}}", _COLORS.get(record.levelno, _DIM))
        line = f"{self._painted(fields['timestamp'], _DIM)} [{level}] {self._painted(escaped(fields['event']), _BOLD)}"
        if "exception" in fields:
            line += "\n" + escaped(fields["exception"], keep="\n\t")
        return line

    def _painted(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self._colors else text


def _area(logger: str) -> str:
    """Return the room an event comes from; of libraries, their name."""
    parts = logger.split(".")
    return parts[1] if parts[0] == _OURS and len(parts) > 1 else parts[0]


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
