"""The settings file: read as TOML, and where in it each key stands, so that an error can name the line."""

from __future__ import annotations

import re
import tomllib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cis.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Location = tuple[str | int, ...]
"""Keys, and positions in lists, from the top of the file down."""

SHORT: dict[str, tuple[str, ...]] = {"CIS_LOG": ("log", "level")}
"""Variables that are a setting and not named by the rule."""
VARIABLES = ("CIS_P2P", "CIS_MEMORY", "CIS_LOG", "CIS_METRICS")
"""How the environment's variables that are settings begin: one for each section at the top."""
FILE_BYTES_MAX = 1 << 20
_LINE = re.compile(r"at line (\d+)")
_BARE_OR_QUOTED = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
_KEY = rf"{_BARE_OR_QUOTED}(?:\s*\.\s*{_BARE_OR_QUOTED})*"
_SECTION = re.compile(rf"\s*(?P<open>\[\[?)\s*(?P<key>{_KEY})\s*\]")
_ASSIGNMENT = re.compile(rf"\s*(?P<key>{_KEY})\s*=")
_PART = re.compile(_BARE_OR_QUOTED)


def read(path: Path) -> tuple[dict[str, Any], str]:
    """The values and the text of a file, both empty when there is none; `UsageError` if it cannot be read."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return {}, ""
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    return parsed(path, raw)


def parsed(path: Path, raw: bytes) -> tuple[dict[str, Any], str]:
    """The values and the text of what stands, or is to stand, in a file; `UsageError` if it is not TOML."""
    if len(raw) > FILE_BYTES_MAX:
        raise UsageError(f"{path} is {len(raw)} bytes long; settings fit into {FILE_BYTES_MAX}")
    try:
        text = raw.decode()
        return tomllib.loads(text), text
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: not UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        found = _LINE.search(str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        raise UsageError(f"{path}:{line}: not TOML: {str(error).partition(' (at ')[0]}") from error
    except RecursionError as error:
        raise UsageError(f"{path}:1: nested deeper than any setting is") from error
    except ValueError as error:  # a number of more digits than Python reads; where it stands is not said
        raise UsageError(f"{path}:1: not TOML that can be read: {error}") from error


def line_of(text: str, location: Location) -> int:
    """The line, from 1, where a key of valid TOML stands; for a part of a value, where the value begins."""
    lines = _lines(text)
    for length in range(len(location), 0, -1):
        if location[:length] in lines:
            return lines[location[:length]]
    return 1


@lru_cache(maxsize=2)
def _lines(text: str) -> dict[Location, int]:
    lines: dict[Location, int] = {}
    for number, found in _keys(text):
        lines.setdefault(found, number)
        for length in range(1, len(found)):  # a section has no line of its own where only its parts are written
            lines.setdefault(found[:length], number)
    return lines


def _keys(text: str) -> Iterator[tuple[int, Location]]:
    section: Location = ()
    tables: dict[Location, int] = {}
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        header, assignment = _SECTION.match(line), _ASSIGNMENT.match(line)
        if not (header or assignment) or not _is_valid("".join(lines[: number - 1])):
            continue  # no key, or inside a value of several lines
        if header:
            section = _parts(header["key"])
            if header["open"] == "[[":
                tables[section] = tables.get(section, -1) + 1
                section = (*section, tables[section])
            yield number, section
        elif assignment:
            yield number, section + _parts(assignment["key"])


def _parts(key: str) -> Location:
    return tuple(part.strip("\"'") for part in _PART.findall(key))


def _is_valid(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True
