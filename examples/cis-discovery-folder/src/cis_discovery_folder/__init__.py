"""Nodes find each other by sealed records in a folder they share: one that is kept in step, or a stick.

A record lies in a file named after the tag it is sealed under, which nobody but members can tell from any other, and
which changes every 15 minutes. What a node left it removes once the tag's time is over, also after a crash: the tags
are noted in the plugin's own folder.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from cis.discovery.plugins import PluginContext
from cis.discovery.provider import Announcement, Provider, Sighting
from cis.errors import UsageError

INTERVAL_S = 30.0
FILES_MAX = 10_000
RECORD_BYTES_MAX = 4096
_NAME = re.compile(r"([0-9a-f]{32})\.cis")


def make(settings: Mapping[str, Any], context: PluginContext) -> Provider:
    """Return the provider for the table ``[p2p.discovery.plugins.folder]``; `UsageError` where it says no path."""
    path, interval_s = settings.get("path"), settings.get("interval_s", INTERVAL_S)
    if not isinstance(path, str) or not Path(path).expanduser().is_absolute():
        raise UsageError("p2p.discovery.plugins.folder.path says which folder to use, from the root or from ~")
    return SharedFolder(Path(path).expanduser(), float(interval_s), context)


class SharedFolder(Provider):
    """Leaves this node's record in the folder, and reads those of the other members."""

    name = "folder"

    def __init__(self, folder: Path, interval_s: float, context: PluginContext) -> None:
        self._folder = folder
        self._interval_s = interval_s
        self._context = context
        self._left = _Left(folder, context.folder / "left.txt")
        self._problem: str | None = None

    def failures(self) -> dict[str, str]:
        """Return why the folder cannot be used now, if so: a stick may come back."""
        return {str(self._folder): self._problem} if self._problem is not None else {}

    async def run(self, announcement: Announcement, found: Callable[[Sighting], None]) -> None:
        """Leave and look, again and again, until cancelled."""
        records = self._context.records(announcement)
        while True:
            own = {beacon.tag: (announcement.record(), beacon) for beacon in records.own()}
            fresh = [beacon for tag, (record, beacon) in own.items() if self._left.needs(tag, record)]
            sealed = {beacon.tag: records.sealed(beacon) for beacon in fresh}
            sought = await records.sought()
            try:
                await asyncio.to_thread(self._left.update, {tag: one[0] for tag, one in own.items()}, sealed)
                read = await asyncio.to_thread(_read, self._folder, set(sought))
                self._problem = None
            except OSError as error:
                read, self._problem = {}, error.strerror or str(error)
            for tag, one in read.items():
                for sighting in records.sightings(tag, one):
                    found(sighting)
            await asyncio.sleep(self._interval_s)


class _Left:
    """What this node left in the folder, noted in a file of its own so that it is removed after a crash too."""

    def __init__(self, folder: Path, note: Path) -> None:
        self._folder = folder
        self._note = note
        self._names = set(note.read_text("ascii").split()) if note.exists() else set()
        self._records: dict[bytes, bytes] = {}

    def needs(self, tag: bytes, record: bytes) -> bool:
        """Tell whether there is nothing under a tag yet, or an older record."""
        return self._records.get(tag) != record or not (self._folder / _name(tag)).exists()

    def update(self, own: Mapping[bytes, bytes], sealed: Mapping[bytes, bytes]) -> None:
        """Write what is new and remove what is over; `OSError` where the folder takes nothing."""
        names = {_name(tag) for tag in own}
        self._note.write_text("\n".join(sorted(names | self._names)), "ascii")
        for tag, box in sealed.items():
            partly = self._folder / f"{_name(tag)}.{os.getpid()}.part"
            partly.write_bytes(box)
            partly.replace(self._folder / _name(tag))
            self._records[tag] = own[tag]
        for name in sorted(self._names - names):
            if _NAME.fullmatch(name):
                (self._folder / name).unlink(missing_ok=True)
        self._names = names
        self._records = {tag: record for tag, record in self._records.items() if tag in own}


def _read(folder: Path, sought: set[bytes]) -> dict[bytes, bytes]:
    """Return what lies under those tags; anybody may have put it there, so no link is followed and no more is read."""
    found: dict[bytes, bytes] = {}
    with os.scandir(folder) as entries:
        for entry in islice(entries, FILES_MAX):
            named = _NAME.fullmatch(entry.name)
            tag = bytes.fromhex(named[1]) if named else b""
            if tag in sought and entry.is_file(follow_symlinks=False):
                with Path(entry.path).open("rb") as file:
                    found[tag] = file.read(RECORD_BYTES_MAX)
    return found


def _name(tag: bytes) -> str:
    return f"{tag.hex()}.cis"
