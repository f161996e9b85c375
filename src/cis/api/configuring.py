"""Changing settings in the file: comments and order stay, and nothing is written that would not load."""

from __future__ import annotations

import difflib
import os
import re
import tempfile
import tomllib
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, cast

import tomlkit
from pydantic import SecretStr
from tomlkit.container import OutOfOrderTableProxy
from tomlkit.items import Table

from cis.api.settings import FILE_NAME, Row, Settings, describe, load
from cis.errors import UsageError

_PLUGIN_KEY = re.compile(r"p2p\.(?:discovery|transports)\.plugins\.[a-z0-9][a-z0-9_-]*(\.[A-Za-z0-9_-]+)+")


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
    if _PLUGIN_KEY.fullmatch(key):
        load(home, {key: text})
        value = _plain_toml(text)
    else:
        row_of(home, key)
        value = _typed(load(home, {key: text}), key)
    file = SettingsFile(home)
    section, _, last = key.rpartition(".")
    file.section(section)[last] = value
    file.save()
    return row_of(home, key)


class SettingsFile:
    """The file as a document to be edited; nothing is written before `save`."""

    def __init__(self, home: Path) -> None:
        self._path = home / FILE_NAME
        there = self._path.exists()
        self._document = tomlkit.parse(self._path.read_text(encoding="utf-8")) if there else tomlkit.document()

    def section(self, key: str) -> MutableMapping[str, Any]:
        """Return a section by its dotted name, made where there is none; `UsageError` for one on a single line."""
        table: Any = self._document
        sections = key.split(".")
        for place, name in enumerate(sections, 1):
            if name not in table:
                table[name] = tomlkit.table(is_super_table=place != len(sections))
            table = table[name]
            if not isinstance(table, Table | OutOfOrderTableProxy):
                raise UsageError(f"{self._path}: {name} is written on one line: change {key} there by hand")
        return cast("MutableMapping[str, Any]", table)

    def save(self) -> None:
        """Write the document; `UsageError` where editing made no TOML of it."""
        text = tomlkit.dumps(self._document)
        try:
            tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"{self._path} is written in a way that cannot be edited here: {error}") from error
        _replace(self._path, text)


def _typed(settings: Settings, key: str) -> Any:  # noqa: ANN401 - of whichever type the setting is
    value: Any = settings
    for name in key.split("."):
        value = getattr(value, name)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return [item if isinstance(item, str) else _plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _plain_toml(text: str) -> Any:  # noqa: ANN401 - of whichever type was written
    """A value that only a plugin knows the type of: a number, truth value, list or table of TOML, else text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


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
