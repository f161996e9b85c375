"""Settings: from a flag, else the environment (``CIS_P2P__…``), else ``config.toml``, else the default.

::

    home = home_of(None)                    # CIS_HOME, else ~/.cis
    settings = load(home, {"p2p.listen_port": 0})
    settings.p2p.sync.interval              # 60.0

Anything unknown or of the wrong type is a `UsageError` that names the file and line (or the variable, or the
flag), the key, and the nearest one that exists.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from cis.api.configuration.settings_file import SHORT, VARIABLES, Location, line_of, parsed, read
from cis.api.configuration.settings_kinds import PARTIAL, TYPED
from cis.api.configuration.settings_schema import Settings
from cis.api.configuration.settings_tree import (
    Tree,
    dotted,
    fields,
    has,
    is_live,
    leaves,
    nested,
    overlay,
    put,
    shown,
    within,
)
from cis.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    _Name = Callable[[Location], str]

__all__ = ["FILE_NAME", "Row", "Settings", "check_text", "checked", "describe", "home_of", "load"]

FILE_NAME = "config.toml"
_HOME_DEFAULT = "~/.cis"
_SECRET = re.compile(r"\bturn_servers\b|\btoken$")
"""Settings that hold, or are, what nobody is to read in an error."""
_GUARDED = re.compile(r"key|token|secret|password|credential", re.IGNORECASE)
"""How settings of plugins are named that hold what nobody is to read in a list."""


@dataclass(frozen=True)
class Row:
    """One setting as ``cis config list`` shows it; ``value`` and ``default`` are texts without secrets."""

    key: str
    value: str
    origin: str
    default: str
    meaning: str
    live: bool
    """whether a running node takes it up when it is changed"""


@dataclass(frozen=True)
class _Source:
    """Values from one place, and how an error names a location in it."""

    values: Tree
    name: _Name
    typed: bool


def home_of(flag: Path | None) -> Path:
    """The folder everything lives in: ``--home``, else ``CIS_HOME``, else ``~/.cis``."""
    return Path(flag or os.environ.get("CIS_HOME") or _HOME_DEFAULT).expanduser().absolute()


def load(home: Path, flags: Mapping[str, object] | None = None) -> Settings:
    """All settings of the node in ``home``; ``flags`` are dotted keys, None meaning not given.

    Raises `UsageError` for what is unknown, ill-typed or out of range, wherever it comes from.
    """
    return _merge(_sources(home, flags))


def checked(changes: Mapping[str, str]) -> Settings:
    """Return settings that were written as texts, by their dotted keys, each checked by itself; raises as `load`."""
    return _check(nested(changes), lambda _: "not written", {PARTIAL: True})


def check_text(home: Path, text: str) -> None:
    """Raise `UsageError` if the file could not be loaded with this text in it."""
    _merge(_sources(home, None, text))


def describe(home: Path, flags: Mapping[str, object] | None = None) -> list[Row]:
    """Every setting with its value, where that comes from, its default and its meaning."""
    sources, rows = _sources(home, flags), []

    def row(path: tuple[str, ...], value: object, default: object, meaning: str, *, live: bool) -> Row:
        origin = next((source.name(path) for source in sources if has(source.values, path)), "default")
        return Row(".".join(path), shown(value), origin, shown(default), meaning, live)

    for path, field, value in leaves(_merge(sources)):
        rows.append(row(path, value, field.default, field.description or "", live=is_live(field)))
        for place, inner in within(value, path) if isinstance(value, dict) else ():
            told = "(set)" if _GUARDED.search(place[-1]) else inner
            rows.append(row(place, told, "", f"what the plugin {place[len(path)]} makes of it", live=False))
    return rows


def _sources(home: Path, flags: Mapping[str, object] | None, text: str | None = None) -> list[_Source]:
    """Where settings come from, the strongest first; ``text`` is what is to be read in place of the file."""
    path = home / FILE_NAME
    in_file, text = read(path) if text is None else parsed(path, text.encode())
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    return [
        _Source(nested(given), lambda location: f"flag {dotted(location)}", typed=False),
        _Source(_environment(), lambda location: f"environment {_variable(location)}", typed=False),
        _Source(in_file, lambda location: f"{path}:{line_of(text, location)}", typed=True),
    ]


def _merge(sources: list[_Source]) -> Settings:
    """One by one, since each has its own names for places; then together, for what belongs together."""
    merged: Tree = {}
    for source in reversed(sources):
        _check(source.values, source.name, {TYPED: source.typed, PARTIAL: True})
        overlay(merged, source.values)

    def name(location: Location) -> str:
        named = (source.name(location) for source in sources if has(source.values, location))
        return next(named, "settings")

    return _check(merged, name, {})


def _check(values: Tree, name: _Name, context: dict[str, bool]) -> Settings:
    try:
        return Settings.model_validate(values, strict=context.get(TYPED, False), context=context)
    except ValidationError as error:
        raise UsageError(_explained(error, name)) from None


def _explained(error: ValidationError, name: _Name) -> str:
    """The first of the errors, on one line."""
    first, *more = error.errors(include_url=False)
    location, key = first["loc"], dotted(first["loc"])
    if first["type"] == "extra_forbidden":
        what = f"unknown setting {key}{_suggestion(location)}"
    elif first["type"] in {"model_type", "model_attributes_type", "dataclass_type", "dict_type"}:
        what = f"{key} is a section, not a value: write [{key}]"
    else:
        reason = str(first.get("ctx", {}).get("error", first["msg"]))
        hidden = isinstance(first["input"], dict | BaseModel) or _SECRET.search(key)
        given = "" if hidden else f" = {first['input']!r}"
        what = f"{key}{given}: {reason}"
    others = f" (and {len(more)} more)" if more else ""
    return f"{name(location)}: {what}{others}"


def _suggestion(location: Location) -> str:
    """The nearest valid name: the same word if it stands in one other place, else one spelt like it."""
    keys = [path for path, _ in fields(sections=True)]
    wanted, siblings = str(location[-1]), [path for path in keys if path[:-1] == location[:-1]]
    moved = [path for path in keys if path[-1] == wanted]
    near = difflib.get_close_matches(wanted, [path[-1] for path in siblings], n=1)
    far = difflib.get_close_matches(dotted(location), [dotted(path) for path in keys], n=1)
    if len(moved) == 1:
        best = dotted(moved[0])
    elif near:
        best = dotted((*location[:-1], near[0]))
    elif far:
        best = far[0]
    else:
        return f"; there are {', '.join(path[-1] for path in siblings)}" if siblings else ""
    return f"; did you mean {best}?"


def _environment() -> Tree:
    """What the environment sets; `UsageError` for a variable that looks like a setting and reaches none."""
    tree: Tree = {}
    for variable, value in sorted(os.environ.items()):
        name = variable.upper()
        top = next((top for top in VARIABLES if name.startswith(top)), None)
        if top is None:
            continue
        if name != top and not name.startswith(f"{top}__"):
            known = [_variable(path) for path, _ in fields()]
            near = difflib.get_close_matches(name, known, n=1)
            raise UsageError(
                f"environment {variable}: unknown setting"
                + (f"; did you mean {near[0]}?" if near else "; sections are parted by two underscores")
            )
        if has(tree, path := _path_of(name)):
            raise UsageError(f"environment {variable}: {'.'.join(path)} is set by another variable too: drop one")
        put(tree, path, value)
    return tree


def _path_of(variable: str) -> tuple[str, ...]:
    return SHORT.get(variable) or tuple(variable.removeprefix("CIS_").lower().split("__"))


def _variable(location: Location) -> str:
    short = next((name for name, path in SHORT.items() if path == location and name in os.environ), None)
    return short or "CIS_" + "__".join(str(part) for part in location if isinstance(part, str)).upper()
