"""Taking a value from the command line, a file or stdin."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from cis.errors import UsageError

VALUE_BYTES_MAX = 256 * 1024


def read_value(given: str | None, file: Path | None, *, as_json: bool) -> tuple[Any, str]:
    """Return a value as requests take it, and its form; bytes are told by not being UTF-8."""
    if given is not None and file is not None:
        raise UsageError("give the value or --file, not both")
    if given is None or given == "-":
        if file is None and given is None and sys.stdin.isatty():
            raise UsageError("no value: give one, or - to read it from stdin")
        data = _read(file)
        if not data and file is None:
            raise UsageError('nothing came on stdin: give the value, or "" to set an empty one')
        try:
            given = data.decode()
        except UnicodeDecodeError:
            from base64 import b64encode

            return b64encode(data).decode(), "bytes"
    if not as_json:
        return given, "text"
    from cis.api.exchange.json_text import check_json, parse_json

    return check_json(parse_json(given)), "json"


def _read(file: Path | None) -> bytes:
    """Read a value, and one byte more than it may have, so that the limit is noticed where it is kept."""
    if file is None:
        return sys.stdin.buffer.read(VALUE_BYTES_MAX + 1)
    with file.open("rb") as opened:
        return opened.read(VALUE_BYTES_MAX + 1)
