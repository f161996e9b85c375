"""Settings of a running node: read again when asked, on SIGHUP, and when the file has changed.

What was changed and can be taken up is taken up at once; of the rest one line says that it waits for a restart.
Settings that do not load change nothing.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from cis.api.configuration.reload_schema import Reloaded, ReloadSettings
from cis.api.configuration.settings import Settings
from cis.api.configuration.settings_tree import is_live, leaves
from cis.errors import CisError, UsageError

_log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
Stamp = tuple[int, int, int] | None
"""When a file was changed, its size and which it is; None where there is none."""


def changed(before: Settings, after: Settings) -> dict[str, bool]:
    """Return the names of the settings that differ, and whether a running node takes each up."""
    both = zip(leaves(before), leaves(after), strict=True)
    return {".".join(path): is_live(field) for (path, field, old), (_, _, new) in both if old != new}


class Watched:
    """A file as it was when looked at: what is still being written is not read."""

    def __init__(self, stamp: Stamp) -> None:
        self._known = self._before = stamp

    def changed_and_rests(self, stamp: Stamp) -> bool:
        """Tell whether it is another than was known, and the same as at the last look; it is known then."""
        due = stamp != self._known and stamp == self._before
        self._before = stamp
        self._known = stamp if due else self._known
        return due


class Reloading:
    """Belongs to the loop's thread; ``read`` runs on another, ``take_up`` lets settings hold in place of others."""

    def __init__(
        self,
        file: Path,
        settings: Settings,
        read: Callable[[], Settings],
        take_up: Callable[[Settings, Settings], None],
    ) -> None:
        self._file = file
        self._began_with = self.settings = settings
        self._read = read
        self._take_up = take_up
        self._one_at_a_time = asyncio.Lock()
        self._asked = False
        self.problem = ""
        """why the settings that hold are not those that are written"""

    async def reload(self, _: ReloadSettings | None = None) -> Reloaded:
        """Read the settings again; raises `UsageError` where they do not load, and those before hold on."""
        async with self._one_at_a_time:
            try:
                fresh = await asyncio.to_thread(self._read)
            except UsageError as error:
                self.problem = f"they do not load, and those before hold on: {error}"
                raise
            before, self.settings = self.settings, fresh
            self._take_up(before, fresh)
        news = changed(before, fresh)
        applied = tuple(key for key, live in news.items() if live)
        restart = tuple(key for key, live in changed(self._began_with, fresh).items() if not live)
        self.problem = f"restart to apply: {', '.join(restart)}" if restart else ""
        if applied:
            _log.info("settings taken up: %s", ", ".join(applied))
        if not all(news.values()):
            _log.warning("settings: %s", self.problem or "they are again those this node was started with")
        return Reloaded(applied=applied, restart=restart)

    async def try_reload(self) -> None:
        """Reload, and log why that could not be."""
        try:
            await self.reload()
        except CisError as error:
            _log.warning("settings: they do not load, and those before hold on: %s", error)

    def ask(self) -> None:
        """Have `run` reload soon."""
        self._asked = True

    async def run(self) -> None:
        """Reload when asked, and whenever the file has changed and rests again, until cancelled."""
        watched = Watched(self._stamp())
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if watched.changed_and_rests(self._stamp()) or self._asked:
                self._asked = False
                await self.try_reload()

    def _stamp(self) -> Stamp:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def on_hang_up(loop: asyncio.AbstractEventLoop, reload: Callable[[], object], end: Callable[[], object]) -> None:
    """Have SIGHUP reload; but end the node where it says that the terminal it was started in is gone."""
    if not hasattr(signal, "SIGHUP"):
        return
    had_terminal = _has_terminal()
    if had_terminal and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return  # started by nohup
    loop.add_signal_handler(signal.SIGHUP, lambda: end() if had_terminal and not _has_terminal() else reload())


def _has_terminal() -> bool:
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()
