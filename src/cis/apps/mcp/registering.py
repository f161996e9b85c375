"""Putting one entry into a program's list of MCP servers: what else is in the file stays as it is.

The new text is made beside the old, compared with what it must say, shown, and put in its place in one step; the old
one is kept next to it. A file that holds comments is refused, as they would be lost.
"""

from __future__ import annotations

import copy
import difflib
import json
import re
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cis.api.exchange.output import new_file
from cis.apps.mcp.clients import Client, Format
from cis.errors import CisError, UsageError

FILE_BYTES_MAX = 32 << 20
_INDENT = re.compile(r'^([ \t]+)"', re.MULTILINE)
_BOM = "\ufeff"


@dataclass(frozen=True)
class Change:
    """What would become of a file: its text before (None where there is no file) and after."""

    path: Path
    before: str | None
    after: str

    @property
    def diff(self) -> list[str]:
        """The difference, line by line."""
        old, new = (self.before or "").splitlines(), self.after.splitlines()
        name = str(self.path)
        return list(difflib.unified_diff(old, new, name, name, lineterm=""))


def snippet(client: Client, name: str, entry: dict[str, Any]) -> str:
    """Return an entry as it stands in a file that holds nothing else."""
    return _with(client.format, None, {}, {client.section: {name: entry}})


def plan(client: Client, path: Path, name: str, entry: dict[str, Any]) -> Change | None:
    """Return the change that enters a server, None where it is there; `UsageError` for a file that cannot be kept."""
    before = _read(path)
    there = _parsed(client.format, before, path)
    section = there.get(client.section, {})
    if not isinstance(section, dict) or not isinstance(section.get(name, {}), dict):
        raise UsageError(f"{path} has a {client.section!r} of another form than expected: enter the server by hand")
    wanted = copy.deepcopy(there)
    known = wanted.setdefault(client.section, {}).setdefault(name, {})
    known.update(entry)  # what else its user set for this server stays
    if wanted == there:
        return None
    after = _with(client.format, before, there, wanted)
    if _parsed(client.format, after, path) != wanted:
        raise UsageError(f"{path} cannot be changed without loss: enter the server by hand")
    return Change(path, before, after)


def carry_out(change: Change) -> Path | None:
    """Write what was shown; returns where the old file is kept. `CisError` where it was changed meanwhile."""
    target = change.path.resolve()  # a link stays one
    if _read(target) != change.before:
        raise CisError(f"{change.path} was changed meanwhile, so nothing was written: run this again")
    kept = None
    mode = 0o600
    if change.before is not None:
        mode = target.stat().st_mode & 0o777
        kept = target.with_name(f"{target.name}.{datetime.now(UTC):%Y%m%dT%H%M%S%f}.bak")
        _write(kept, change.before, mode)
    target.parent.mkdir(parents=True, exist_ok=True)
    _write(target, change.after, mode)
    return kept


def _write(path: Path, text: str, mode: int) -> None:
    with new_file(path, overwrite=True) as file:
        file.write(text.encode())
    path.chmod(mode)


def _read(path: Path) -> str | None:
    try:
        data = path.read_bytes()
        text = data.decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8: enter the server by hand") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > FILE_BYTES_MAX:
        raise UsageError(f"{path} has {len(data):,} bytes, too many for a list of servers: enter the server by hand")
    return text


def _parsed(form: Format, text: str | None, path: Path) -> dict[str, Any]:
    plain = (text or "").removeprefix(_BOM)
    if not plain.strip():
        return {}
    try:
        found = tomllib.loads(plain) if form == "toml" else _json(plain)
    except ValueError as error:
        hint = "; comments, which would be lost, are not taken" if form == "json" else ""
        raise UsageError(f"{path} cannot be changed without loss ({error}{hint}): enter the server by hand") from error
    if not isinstance(found, dict):
        raise UsageError(f"{path} holds no settings: enter the server by hand")
    return found


def _json(text: str) -> Any:  # noqa: ANN401 - JSON
    return json.loads(text, object_pairs_hook=_once, parse_constant=_refused)


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice")
    return found


def _with(form: Format, before: str | None, there: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Return the text of a file that says what is wanted, as like the one before as can be."""
    if form == "toml":
        return _toml(before or "", there, wanted)
    old = before or ""
    indent = found[1] if (found := _INDENT.search(old)) else 2
    halves = r"\ud" in old.lower()  # halves of characters, which cannot be written otherwise
    text = json.dumps(wanted, indent=indent, ensure_ascii=halves or (bool(old) and old.isascii()))
    text += "\n" if not old.strip() or old.endswith("\n") else ""
    if "\r\n" in old:
        text = text.replace("\n", "\r\n")
    return (_BOM if old.startswith(_BOM) else "") + text


def _toml(before: str, there: dict[str, Any], wanted: dict[str, Any]) -> str:
    import tomlkit

    document: Any = tomlkit.parse(before)
    for section, servers in wanted.items():
        if servers == there.get(section):
            continue
        if section not in document:
            document[section] = tomlkit.table(is_super_table=True)
        for name, entry in servers.items():
            if name not in document[section]:
                document[section][name] = tomlkit.table()
            for key, value in entry.items():
                if there.get(section, {}).get(name, {}).get(key) != value:
                    document[section][name][key] = value
    return tomlkit.dumps(document)
