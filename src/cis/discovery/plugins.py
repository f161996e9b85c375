"""Plugins: ways of finding nodes that other packages bring, by entry points of the group `cis.discovery`.

An entry point's name is the plugin's, and what it names makes a provider of the plugin's settings, the table
``[p2p.discovery.plugins.NAME]``, and of a `PluginContext`. One runs only where its table is in the settings, so
installing a package changes nothing by itself. It runs in the node's process and is trusted as the node's own code is;
what it raises is told and it is begun again, later each time, and what it finds is a hint like any other::

    def make(settings: Mapping[str, Any], context: PluginContext) -> Provider: ...

Whoever a plugin asks may lie to it. So what it says of a place counts as hearsay (`Source.RELAYED`), unless that was
in a member's own record, opened by `PluginContext.records`.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any

from cis.discovery.address import Source, dialable
from cis.discovery.provider import Announcement, Provider, Sighting
from cis.discovery.sealed import SealedRecords
from cis.errors import CisError, Unavailable
from cis.rate import Bucket

_log = logging.getLogger(__name__)

GROUP = "cis.discovery"
RESTART_S = 5.0
RESTART_S_MAX = 600.0
"""Ceiling of the wait before a plugin that ended is begun again; after one that ran as long the least is waited."""
SIGHTINGS_PER_S = 20.0
SIGHTINGS_BURST = 500.0
VOUCHED_MAX = 4096
FAILURES_MAX = 8
TEXT_MAX = 300

Factory = Callable[[Mapping[str, Any], "PluginContext"], Provider]
_Place = tuple[bytes, str, int]


class _OwnWord(SealedRecords):
    """Remembers what members said of themselves, the last `VOUCHED_MAX` places."""

    def __init__(self, announcement: Announcement, vouched: OrderedDict[_Place, None], *, allow_loopback: bool) -> None:
        super().__init__(announcement, allow_loopback=allow_loopback)
        self._vouched = vouched

    def sightings(self, tag: bytes, sealed: bytes) -> list[Sighting]:
        found = super().sightings(tag, sealed)
        for one in found:
            if one.node is not None:
                self._vouched[one.node, one.host, one.port] = None
        while len(self._vouched) > VOUCHED_MAX:
            self._vouched.popitem(last=False)
        return found


class PluginContext:
    """What a plugin is given of the node, besides its settings."""

    def __init__(self, folder: Path, *, allow_loopback: bool = False) -> None:
        self.allow_loopback = allow_loopback
        """Whether this node listens on loopback alone, and so may dial it."""
        self._folder = folder
        self._vouched: OrderedDict[_Place, None] = OrderedDict()

    @property
    def folder(self) -> Path:
        """A folder of the plugin's own in the node's home, made when it is asked for; nobody else reads it."""
        self._folder.parent.mkdir(mode=0o700, exist_ok=True)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        return self._folder

    def records(self, announcement: Announcement) -> SealedRecords:
        """Return this node's sealed record to leave somewhere, and what opens those of the others.

        What is opened by it is the word of the member itself, so addresses of private networks count too.
        """
        return _OwnWord(announcement, self._vouched, allow_loopback=self.allow_loopback)

    def own_word(self, sighting: Sighting) -> bool:
        """Tell whether a member said this of itself."""
        return sighting.node is not None and (sighting.node, sighting.host, sighting.port) in self._vouched


class PluginProvider(Provider):
    """Runs the plugin of that name, and stands between it and the node."""

    def __init__(
        self,
        plugin: str,
        settings: Mapping[str, Any],
        context: PluginContext,
        *,
        entries: Callable[[str], list[EntryPoint]] | None = None,
        rng: Random | None = None,
        restart_s: float = RESTART_S,
    ) -> None:
        self._plugin = plugin
        self._settings = MappingProxyType(dict(settings))
        self._context = context
        self._entries = entries or offered
        self._rng = rng or Random()
        self._restart_s = restart_s
        self._pace = Bucket(per_s=SIGHTINGS_PER_S, burst=SIGHTINGS_BURST)
        self._inner: Provider | None = None
        self._problem: str | None = None

    @property
    def name(self) -> str:
        """Return the plugin's name, and that it is one."""
        return f"plugin {self._plugin}"

    def failures(self) -> dict[str, str]:
        """Return what made the plugin end, or what it says itself that fails."""
        if self._problem is not None:
            return {self.name: self._problem}
        try:
            said = self._inner.failures() if self._inner is not None else {}
            places = sorted(said.items())[:FAILURES_MAX]
            return {self._place(str(where)): str(why)[:TEXT_MAX] for where, why in places}
        except Exception as error:  # noqa: BLE001 - the boundary to the plugin
            return {self.name: explained(error)}

    async def run(self, announcement: Announcement, found: Callable[[Sighting], None]) -> None:
        """Run the plugin, again and again if it ends; raises `Unavailable` where it is not installed."""
        entry = self._entry()
        loop, failed = asyncio.get_running_loop(), 0
        thread = threading.get_ident()

        def on_sighting(sighting: object) -> None:
            if threading.get_ident() == thread:
                self._judge(sighting, found)
            elif not loop.is_closed():
                loop.call_soon_threadsafe(self._judge, sighting, found)

        while True:
            began = loop.time()
            reason = await self._run_once(entry, announcement, on_sighting)
            self._inner = None
            failed = 1 if loop.time() - began >= RESTART_S_MAX else failed + 1
            if reason != self._problem:
                _log.warning("%s: %s; it is begun again later", self.name, reason)
            self._problem = reason
            ceiling_s = min(RESTART_S_MAX, self._restart_s * 2.0 ** min(failed - 1, 16))
            await asyncio.sleep(self._rng.uniform(ceiling_s / 2, ceiling_s))

    async def _run_once(self, entry: EntryPoint, announcement: Announcement, found: Callable[[Sighting], None]) -> str:
        """Run it until it ends, whatever way it does; returns why it did."""
        try:
            factory = await asyncio.to_thread(entry.load)
            self._inner = inner = factory(self._settings, self._context)
            running = inner.run(announcement, found)
            self._problem = None
            await running
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return "it was cancelled, and not by the node"
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the boundary to the plugin
            _log.debug("%s ended", self.name, exc_info=error)
            return explained(error)
        return "it ended by itself"

    def _entry(self) -> EntryPoint:
        entries = self._entries(self._plugin)
        if not entries:
            self._problem = missing(f"cis-discovery-{self._plugin}", f"p2p.discovery.plugins.{self._plugin}")
            raise Unavailable(self._problem)
        if len(entries) > 1:
            packages = ", ".join(sorted(one.dist.name if one.dist is not None else "?" for one in entries))
            self._problem = f"several installed packages offer it ({packages}): remove all but one"
            raise Unavailable(self._problem)
        return entries[0]

    def _judge(self, sighting: object, found: Callable[[Sighting], None]) -> None:
        """Pass on what may be dialled, as what it is worth; more than a plugin finds in earnest is left out."""
        if not isinstance(sighting, Sighting) or not self._pace.take(1, time.monotonic()):
            return
        source = Source.MEMBER if self._context.own_word(sighting) else Source.RELAYED
        if not _is_place(sighting.host, sighting.port):
            return
        if dialable(sighting.host, source, allow_loopback=self._context.allow_loopback):
            found(replace(sighting, source=source))

    def _place(self, where: str) -> str:
        return f"{self.name}: {where[:TEXT_MAX]}"


def offered(plugin: str, group: str = GROUP) -> list[EntryPoint]:
    """Return the entry points of that name which installed packages have."""
    return list(entry_points(group=group, name=plugin))


def missing(package: str, table: str) -> str:
    """Return what to do about a plugin that no installed package offers; ``package`` is what it is named by custom."""
    return (
        f"no installed package offers it: install the one that does, by custom named {package}, where cis is "
        f"installed, or remove [{table}]"
    )


def plugins_of(tables: Mapping[str, Mapping[str, Any]], folder: Path, *, allow_loopback: bool) -> list[PluginProvider]:
    """Return the plugins the settings name, each with a folder of its own in that one."""
    context = partial(PluginContext, allow_loopback=allow_loopback)
    return [PluginProvider(name, table, context(folder / name)) for name, table in sorted(tables.items())]


def _is_place(host: object, port: object) -> bool:
    return isinstance(host, str) and isinstance(port, int) and 0 < port < 1 << 16


def explained(error: BaseException) -> str:
    """Return why a plugin ended, for a person to read: our errors are sentences, others need their kind."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = str(error)[:TEXT_MAX]
    return text if isinstance(error, CisError) and text else f"{type(error).__name__}: {text}".rstrip(": ")
