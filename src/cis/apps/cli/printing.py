"""Everything the commands print passes here, so that what peers wrote cannot disturb a terminal (RULES F2)."""

from __future__ import annotations

import contextlib
import sys
import time
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from cis.api.text import escaped, escaped_json

if TYPE_CHECKING:
    from cis.node.home.renamed import Renamed

CELL_MAX = 60
RENAMED_SHOWN = 50
LAST_CELL_MAX = 160
_UNITS = ("B", "KB", "MB", "GB", "TB")


def say(text: str) -> None:
    """Print one line for people; control characters in it are escaped."""
    _write(sys.stdout, escaped(text) + "\n")


def tell(text: str) -> None:
    """Print one line beside the result, on stderr."""
    _write(sys.stderr, escaped(text) + "\n")


def complain(text: str) -> None:
    """Print an error: one line on stderr."""
    tell(f"cis: {' '.join(text.split())}")


def ask_secret(what: str, *, twice: bool = False) -> str | None:
    """Ask on the terminal, showing nothing of what is typed; None where there is no terminal."""
    if not sys.stdin.isatty():
        return None
    import typer

    answer: str = typer.prompt(escaped(what), hide_input=True, err=True, confirmation_prompt=twice)
    return answer


def draw_qr(text: str) -> None:
    """Draw a text as a QR code in half blocks; capitals, digits and few signs make the smallest."""
    import segno

    segno.make(text, error="l", micro=False).terminal(out=sys.stdout, compact=True, border=2)


def show_json(value: Any) -> None:  # noqa: ANN401 - anything msgspec encodes
    """Print a value as JSON, indented."""
    show_line(value, indent=2)


def show_line(value: Any, indent: int = 0) -> None:  # noqa: ANN401 - anything msgspec encodes
    """Print a value as one line of JSON, at once."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=indent).decode()
    _write(sys.stdout, escaped_json(text) + "\n")
    sys.stdout.flush()


def say_renamed(renamed: Sequence[Renamed]) -> None:
    """Say which memories are called otherwise since they came into another cluster."""
    if not renamed:
        return
    say("memories that go by another key now, as theirs was taken:")
    for one in renamed[:RENAMED_SHOWN]:
        say(f"  {one.key} of {one.space} is {one.now}")
    if len(renamed) > RENAMED_SHOWN:
        say(f"  and {len(renamed) - RENAMED_SHOWN} more, named alike")


def show_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows in columns; long cells are cut."""
    cells = [
        [*(_cut(escaped(cell), CELL_MAX) for cell in row[:-1]), _cut(escaped(row[-1]), LAST_CELL_MAX)]
        for row in (header, *rows)
    ]
    widths = [max(_width(row[place]) for row in cells) for place in range(len(header))]
    for row in cells:
        padded = [cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
        _write(sys.stdout, "  ".join(padded).rstrip() + "\n")


def show_value(value: Any, form: str, *, raw: bool = False) -> None:  # noqa: ANN401 - a memory's value
    """Print a memory's value of a form: as it is for programs and with ``raw``, escaped on a terminal."""
    as_it_is = raw or not sys.stdout.isatty()
    if form == "bytes":
        from base64 import b64decode

        data = b64decode(value["base64"])
        if as_it_is:
            sys.stdout.buffer.write(data)
        else:
            say(f"({len(data)} bytes: --raw writes them)")
    elif isinstance(value, str):
        _write(sys.stdout, (value if as_it_is else escaped(value, keep="\n\t")) + "\n")
    else:
        show_line(value)


def brief(value: Any) -> str:  # noqa: ANN401 - a memory's value
    """Return a value on one line, for tables."""
    if isinstance(value, str):
        return " ".join(value.split())
    return msgspec.json.encode(value).decode()


def moment(ms: int) -> str:
    """Return Unix milliseconds as local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ms / 1000))


def ago(seconds: float | None) -> str:
    """Return a time span for tables."""
    if seconds is None:
        return "never"
    for bound, unit in ((120, "s"), (7200, "min"), (172_800, "h")):
        if seconds < bound:
            return f"{seconds / {'s': 1, 'min': 60, 'h': 3600}[unit]:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def size(count: float) -> str:
    """Return a number of bytes for tables."""
    for unit in _UNITS:
        if count < 1000 or unit == _UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("the last unit takes everything")


def is_terminal() -> bool:
    """Tell whether a person looks at stderr, where progress is shown."""
    return sys.stderr.isatty()


def spinner(what: str) -> contextlib.AbstractContextManager[object]:
    """Show that something takes a while, on a terminal."""
    if not is_terminal():
        return contextlib.nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(what)


def _write(stream: TextIO, text: str) -> None:
    """Write, with escapes for what the terminal's encoding cannot show."""
    try:
        stream.write(text)
    except UnicodeEncodeError:
        stream.write(text.encode(stream.encoding, "backslashreplace").decode(stream.encoding))


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _width(text: str) -> int:
    wide = sum(unicodedata.east_asian_width(one) in "WF" for one in text)
    return len(text) + wide - sum(unicodedata.combining(one) > 0 for one in text)
