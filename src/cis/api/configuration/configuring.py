"""Changing settings in the file: comments and order stay, and nothing is written that would not load."""

from __future__ import annotations

import difflib
import os
import re
import tempfile
import tomllib
from collections.abc import Collection, Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, cast

import tomlkit
from pydantic import SecretStr
from tomlkit.container import OutOfOrderTableProxy
from tomlkit.items import Table

from cis.api.configuration.settings import FILE_NAME, Row, Settings, check_text, checked, describe
from cis.api.configuration.settings_file import read
from cis.api.configuration.settings_tree import at, fields
from cis.errors import UsageError

_PLUGIN_KEY = re.compile(r"p2p\.(?:discovery|transports)\.plugins\.[a-z0-9][a-z0-9_-]*(\.[A-Za-z0-9_-]+)+")


def row_of(home: Path, key: str) -> Row:
    """Return one setting; `UsageError` with the nearest name where there is none."""
    rows = {row.key: row for row in describe(home)}
    if key not in rows:
        raise _unknown(key, rows)
    return rows[key]


def write_setting(home: Path, key: str, text: str) -> Row:
    """Set one setting in the file; as `write_settings`."""
    return write_settings(home, {key: text})[0]


def write_settings(home: Path, changes: Mapping[str, str]) -> list[Row]:
    """Set settings in the file, all or none; `UsageError` for an unknown name or what would not load.

    What is wrong in the file already and is mended by this is no obstacle.
    """
    known = {".".join(path) for path, _ in fields()}
    file, free = SettingsFile(home), [key for key in changes if _PLUGIN_KEY.fullmatch(key)]
    if unknown := [key for key in changes if key not in known and key not in free]:
        raise _unknown(unknown[0], known)
    settings = checked(changes)
    for key, text in changes.items():
        section, _, last = key.rpartition(".")
        file.section(section)[last] = _plain_toml(text) if key in free else _typed(settings, key)
    file.save()
    rows = {row.key: row for row in describe(home)}
    return [rows[key] for key in changes if key in rows]


def unset_settings(home: Path, keys: Collection[str]) -> list[Row]:
    """Take out of the file what stands there, all or nothing, so that others decide; returns the settings among it."""
    file = SettingsFile(home)
    for key in keys:
        section, _, last = key.rpartition(".")
        table = file.section(section)
        if last not in table:
            raise UsageError(f"{key} does not stand in {home / FILE_NAME}: `cis config list --changed` shows what does")
        del table[last]
    file.save()
    rows = {row.key: row for row in describe(home)}
    return [rows[key] for key in keys if key in rows]


def _unknown(key: str, known: Iterable[str]) -> UsageError:
    near = difflib.get_close_matches(key, list(known), n=1)
    hint = f"did you mean {near[0]}?" if near else "`cis config list` shows them all"
    return UsageError(f"unknown setting {key}: {hint}")


class SettingsFile:
    """The file as a document to be edited; nothing is written before `save`."""

    def __init__(self, home: Path) -> None:
        self._path = home / FILE_NAME
        self._document = tomlkit.parse(read(self._path)[1])

    def section(self, key: str) -> MutableMapping[str, Any]:
        """Return a section by its dotted name, made where there is none; `UsageError` for one on a single line."""
        table: Any = self._document
        sections = key.split(".") if key else []
        for place, name in enumerate(sections, 1):
            if name not in table:
                table[name] = tomlkit.table(is_super_table=place != len(sections))
            table = table[name]
            if not isinstance(table, Table | OutOfOrderTableProxy):
                raise UsageError(f"{self._path}: {name} is written on one line: change {key} there by hand")
        return cast("MutableMapping[str, Any]", table)

    def save(self) -> None:
        """Write the document; `UsageError`, and an unchanged file, where editing made none that loads."""
        text = tomlkit.dumps(self._document)
        try:
            tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"{self._path} is written in a way that cannot be edited here: {error}") from error
        check_text(self._path.parent, text)
        _replace(self._path, text)


def _typed(settings: Settings, key: str) -> Any:  # noqa: ANN401 - of whichever type the setting is
    value = at(settings, key.split("."))
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
