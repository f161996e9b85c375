"""Changing one setting in the file: comments and order stay, and nothing is written that would not load."""

from __future__ import annotations

import difflib
import os
import tempfile
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import Table

from cis.api.settings import FILE_NAME, Row, Settings, describe, load
from cis.errors import UsageError


def row_of(home: Path, key: str) -> Row:
    """Return one setting; `UsageError` with the nearest name where there is none."""
    rows = {row.key: row for row in describe(home)}
    if key not in rows:
        near = difflib.get_close_matches(key, rows, n=1)
        hint = f"did you mean {near[0]}?" if near else "`cis config list` shows them all"
        raise UsageError(f"unknown setting {key}: {hint}")
    return rows[key]


def write_setting(home: Path, key: str, text: str) -> Row:
    """Set one setting in the file; `UsageError`, and an unchanged file, for an unknown name or a wrong value."""
    row_of(home, key)
    value = _typed(load(home, {key: text}), key)
    path = home / FILE_NAME
    document = tomlkit.parse(path.read_text(encoding="utf-8")) if path.exists() else tomlkit.document()
    table: Any = document
    *sections, last = key.split(".")
    for section in sections:
        if section not in table:
            table[section] = tomlkit.table(is_super_table=section != sections[-1])
        table = table[section]
        if not isinstance(table, Table):
            raise UsageError(f"{path}: {section} is written on one line: change {key} there by hand")
    table[last] = value
    _replace(path, tomlkit.dumps(document))
    return row_of(home, key)


def _typed(settings: Settings, key: str) -> Any:  # noqa: ANN401 - of whichever type the setting is
    value: Any = settings
    for name in key.split("."):
        value = getattr(value, name)
    if isinstance(value, tuple):
        return [item if isinstance(item, str) else _plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _plain(item: Any) -> Any:  # noqa: ANN401 - a section inside a list
    values = {name: getattr(item, name) for name in type(item).model_fields}
    return {
        name: value.get_secret_value() if hasattr(value, "get_secret_value") else value
        for name, value in values.items()
    }


def _replace(path: Path, text: str) -> None:
    """Write the file whole or not at all, for its owner's eyes: it may hold the credentials of a relay."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".config-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
