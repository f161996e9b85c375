"""The access list in the settings file: read, and edited in its place, so that comments stay where they are."""

from __future__ import annotations

from pathlib import Path

import tomlkit
from tomlkit.items import Array

from cis.api.configuration.configuring import SettingsFile
from cis.api.configuration.settings import describe, load
from cis.errors import UsageError
from cis.trust.acl import Acl, Mode, spelt_out

SECTION = "p2p.acl"


def read_acl(home: Path) -> Acl:
    """Return the access list the settings of a node say."""
    return load(home).p2p.acl.parsed()


def edit_list(home: Path, key: str, pattern: str, *, remove: bool) -> None:
    """Put a pattern at the end of the list ``key``, or take it off however it is spelt there."""
    _refuse_if_overridden(home, key)
    file = SettingsFile(home)
    section = file.section(SECTION)
    if key not in section:
        section[key] = tomlkit.array()
    patterns = section[key]
    assert isinstance(patterns, Array), "the file was loaded, where only a list is taken"
    if remove:
        for place in reversed(range(len(patterns))):
            if spelt_out(str(patterns[place])) == spelt_out(pattern):
                del patterns[place]
    else:
        patterns.append(pattern)
    file.save()


def write_mode(home: Path, mode: str) -> None:
    """Set the mode, and its other spelling where that is used, so that they agree."""
    _refuse_if_overridden(home, "mode", "whitelist_only")
    file = SettingsFile(home)
    section = file.section(SECTION)
    section["mode"] = mode
    if "whitelist_only" in section:
        section["whitelist_only"] = mode == Mode.WHITELIST
    file.save()


def _refuse_if_overridden(home: Path, *keys: str) -> None:
    """Refuse to write what would not hold."""
    wanted = {f"{SECTION}.{key}" for key in keys}
    for row in describe(home):
        if row.key in wanted and row.origin.startswith("environment"):
            raise UsageError(f"{row.origin} decides about {row.key}, whatever the file says: change it there")
