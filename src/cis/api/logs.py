"""Logging of the daemon: one line an event on stderr, control characters escaped, libraries at WARNING.

The level of cis itself is INFO, or what ``CIS_LOG`` says (debug, info, warning, error).
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from cis.api.text import escaped
from cis.errors import UsageError

LEVEL_VARIABLE = "CIS_LOG"
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def set_up_logging() -> None:
    """Send everything that is logged to stderr; `UsageError` for a level there is not."""
    word = os.environ.get(LEVEL_VARIABLE, "info").lower()
    if word not in _LEVELS:
        raise UsageError(f"environment {LEVEL_VARIABLE}={word!r}: there are {', '.join(_LEVELS)}")
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_log_level, stamp],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _safe,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), sort_keys=False),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("cis").setLevel(_LEVELS[word])


def _safe(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = escaped(value, keep="\n\t" if name == "exception" else "")
    return event
