"""Settings: from a flag, else the environment (``CIS_P2P__…``), else ``config.toml``, else the default.

::

    home = home_of(None)                    # CIS_HOME, else ~/.cis
    settings = load(home, {"p2p.listen_port": 0})
    settings.p2p.sync.interval              # 60.0
    inert(settings)                         # ["p2p.bandwidth.upload_limit"]: set, and not acting yet

Anything unknown or of the wrong type is a `UsageError` that names the file and line (or the variable, or the
flag), the key, and the nearest one that exists.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from cis.api.settings_file import VARIABLES, Location, line_of, read
from cis.api.settings_schema import PARTIAL, TYPED, Settings
from cis.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pydantic.fields import FieldInfo

    _Name = Callable[[Location], str]

__all__ = ["FILE_NAME", "Row", "Settings", "describe", "home_of", "inert", "load"]

FILE_NAME = "config.toml"
_HOME_DEFAULT = "~/.cis"
_SECRET = re.compile(r"\bturn_servers\b|\btoken$")
"""Settings that hold, or are, what nobody is to read in an error."""
_GUARDED = re.compile(r"key|token|secret|password|credential", re.IGNORECASE)
"""How settings of plugins are named that hold what nobody is to read in a list."""
_Tree = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One setting as ``cis config list`` shows it; ``value`` and ``default`` are texts without secrets."""

    key: str
    value: str
    origin: str
    default: str
    meaning: str
    acts: bool


@dataclass(frozen=True)
class _Source:
    """Values from one place, and how an error names a location in it."""

    values: _Tree
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


def inert(settings: Settings) -> list[str]:
    """The keys that were set to something and do not act in this version of cis."""
    return [
        ".".join(path)
        for path, field, value, is_set in _leaves(settings)
        if is_set and _is_later(field) and value != field.default
    ]


def describe(home: Path, flags: Mapping[str, object] | None = None) -> list[Row]:
    """Every setting with its value, where that comes from, its default and its meaning."""
    sources, rows = _sources(home, flags), []

    def row(path: tuple[str, ...], value: object, default: object, meaning: str, *, acts: bool = True) -> Row:
        origin = next((source.name(path) for source in sources if _has(source.values, path)), "default")
        return Row(".".join(path), _shown(value), origin, _shown(default), meaning, acts)

    for path, field, value, _ in _leaves(_merge(sources)):
        rows.append(row(path, value, field.default, field.description or "", acts=not _is_later(field)))
        if isinstance(value, dict):
            for within, inner in _within(value, path):
                shown = "(set)" if _GUARDED.search(within[-1]) else inner
                rows.append(row(within, shown, "", f"what the plugin {within[len(path)]} makes of it"))
    return rows


def _sources(home: Path, flags: Mapping[str, object] | None) -> list[_Source]:
    """Where settings come from, the strongest first."""
    path = home / FILE_NAME
    in_file, text = read(path)
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    return [
        _Source(_nested(given), lambda location: f"flag {_dotted(location)}", typed=False),
        _Source(_environment(), lambda location: f"environment {_variable(location)}", typed=False),
        _Source(in_file, lambda location: f"{path}:{line_of(text, location)}", typed=True),
    ]


def _merge(sources: list[_Source]) -> Settings:
    """One by one, since each has its own names for places; then together, for what belongs together."""
    merged: _Tree = {}
    for source in reversed(sources):
        _check(source.values, source.name, {TYPED: source.typed, PARTIAL: True})
        _overlay(merged, source.values)

    def name(location: Location) -> str:
        named = (source.name(location) for source in sources if _has(source.values, location))
        return next(named, "settings")

    return _check(merged, name, {})


def _check(values: _Tree, name: _Name, context: dict[str, bool]) -> Settings:
    try:
        return Settings.model_validate(values, strict=context.get(TYPED, False), context=context)
    except ValidationError as error:
        raise UsageError(_explained(error, name)) from None


def _explained(error: ValidationError, name: _Name) -> str:
    """The first of the errors, on one line."""
    first, *more = error.errors(include_url=False)
    location, key = first["loc"], _dotted(first["loc"])
    if first["type"] == "extra_forbidden":
        what = f"unknown setting {key}{_suggestion(location)}"
    elif first["type"] in {"model_type", "model_attributes_type", "dataclass_type", "dict_type"}:
        what = f"{key} is a section, not a value: write [{key}]"
    else:
        reason = str(first.get("ctx", {}).get("error", first["msg"]))
        hidden = isinstance(first["input"], dict | BaseModel) or _SECRET.search(key)
        shown = "" if hidden else f" = {first['input']!r}"
        what = f"{key}{shown}: {reason}"
    others = f" (and {len(more)} more)" if more else ""
    return f"{name(location)}: {what}{others}"


def _suggestion(location: Location) -> str:
    """The nearest valid name: the same word if it stands in one other place, else one spelt like it."""
    keys = [path for path, _ in _fields(Settings, sections=True)]
    wanted, siblings = str(location[-1]), [path for path in keys if path[:-1] == location[:-1]]
    moved = [path for path in keys if path[-1] == wanted]
    near = difflib.get_close_matches(wanted, [path[-1] for path in siblings], n=1)
    far = difflib.get_close_matches(_dotted(location), [_dotted(path) for path in keys], n=1)
    if len(moved) == 1:
        best = _dotted(moved[0])
    elif near:
        best = _dotted((*location[:-1], near[0]))
    elif far:
        best = far[0]
    else:
        return f"; there are {', '.join(path[-1] for path in siblings)}" if siblings else ""
    return f"; did you mean {best}?"


def _environment() -> _Tree:
    """What the environment sets; `UsageError` for a variable that looks like a setting and reaches none."""
    tree: _Tree = {}
    for variable, value in sorted(os.environ.items()):
        name = variable.upper()
        top = next((top for top in VARIABLES if name.startswith(top)), None)
        if top is None:
            continue
        if name != top and not name.startswith(f"{top}__"):
            known = [_variable(path) for path, _ in _fields(Settings)]
            near = difflib.get_close_matches(name, known, n=1)
            raise UsageError(
                f"environment {variable}: unknown setting"
                + (f"; did you mean {near[0]}?" if near else "; sections are parted by two underscores")
            )
        _put(tree, name.removeprefix("CIS_").lower().split("__"), value)
    return tree


def _put(tree: _Tree, path: Sequence[str], value: object) -> None:
    """Put a value where its path leads; one that stands in its way stays, and is found to be no section."""
    branch: Any = tree
    *sections, last = path
    for section in sections:
        branch = branch.setdefault(section, {})
        if not isinstance(branch, dict):
            return
    branch[last] = value


def _fields(
    model: type[BaseModel], above: tuple[str, ...] = (), *, sections: bool = False
) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    for name, field in model.model_fields.items():
        path, kind = (*above, name), field.annotation
        is_section = isinstance(kind, type) and issubclass(kind, BaseModel)
        if sections or not is_section:
            yield path, field
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _fields(kind, path, sections=sections)


def _leaves(settings: Settings) -> Iterator[tuple[tuple[str, ...], FieldInfo, Any, bool]]:
    """Every setting: its path, its field, its value, and whether it was set."""
    for path, field in _fields(Settings):
        model: Any = settings
        for name in path[:-1]:
            model = getattr(model, name)
        yield path, field, getattr(model, path[-1]), path[-1] in model.model_fields_set


def _within(table: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value in a free table, and where it stands."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _within(value, (*above, name))
        else:
            yield (*above, name), value


def _is_later(field: FieldInfo) -> bool:
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("later"))


def _nested(flat: Mapping[str, object]) -> _Tree:
    tree: _Tree = {}
    for key, value in flat.items():
        _put(tree, key.split("."), value)
    return tree


def _overlay(below: _Tree, above: _Tree) -> None:
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _overlay(below[key], value)
        else:
            below[key] = dict(value) if isinstance(value, dict) else value


def _has(tree: Any, path: Location) -> bool:  # noqa: ANN401 - a tree of settings or a value in it
    for name in path:
        if not isinstance(tree, dict) or name not in tree:
            return False
        tree = tree[name]
    return True


def _dotted(location: Location) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")


def _variable(location: Location) -> str:
    return "CIS_" + "__".join(str(part) for part in location if isinstance(part, str)).upper()


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list | dict):
        return ", ".join(_shown(part) for part in value)
    if isinstance(value, BaseModel):
        return str(getattr(value, "url", value))
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
