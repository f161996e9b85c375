"""Plugins: run only when asked for, cannot end the node, and are believed no more than what members say themselves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cis.discovery.address import Source
from cis.discovery.plugins import FAILURES_MAX, SIGHTINGS_BURST, PluginContext, PluginProvider, offered, plugins_of
from cis.discovery.provider import Announcement, Provider, Sighting
from cis.errors import Unavailable, UsageError
from tests.unit.discovery.test_sealed import ONE, TWO, Shown

Run = Callable[[Announcement, Callable[[Sighting], None]], Any]


class Entry:
    """Stands for an entry point that leads to a factory."""

    dist = None

    def __init__(self, load: Callable[[], Any]) -> None:
        self.load = load


class Plugin(Provider):
    name = "whatever it calls itself"

    def __init__(self, run: Run, said: Any = None) -> None:
        self._run = run
        self._said = said

    async def run(self, announcement: Announcement, found: Callable[[Sighting], None]) -> None:
        await self._run(announcement, found)

    def failures(self) -> dict[str, str]:
        if isinstance(self._said, Exception):
            raise self._said
        return self._said or {}


def provider(tmp_path: Path, make: Callable[..., Any], *, loopback: bool = False) -> PluginProvider:
    entry: Any = Entry(lambda: make)
    return PluginProvider(
        "x",
        {"path": "/p"},
        PluginContext(tmp_path / "plugins" / "x", allow_loopback=loopback),
        entries=lambda _: [entry],
        rng=Random(1),
        restart_s=0.001,
    )


@asynccontextmanager
async def running(plugin: PluginProvider) -> AsyncIterator[list[Sighting]]:
    found: list[Sighting] = []
    async with asyncio.TaskGroup() as group:
        task = group.create_task(plugin.run(Shown(ONE), found.append))
        yield found
        task.cancel()


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0)


async def forever(*_: object) -> None:
    await asyncio.Event().wait()


async def test_a_plugin_gets_its_table_and_a_folder_of_its_own(tmp_path: Path) -> None:
    given: list[tuple[Mapping[str, Any], PluginContext]] = []

    def make(settings: Mapping[str, Any], context: PluginContext) -> Plugin:
        given.append((settings, context))
        return Plugin(forever)

    plugin = provider(tmp_path, make)
    assert plugin.name == "plugin x"
    async with running(plugin):
        await until(lambda: given)
    settings, context = given[0]
    assert settings == {"path": "/p"}
    assert not (tmp_path / "plugins").exists(), "made before it was asked for"
    assert context.folder == tmp_path / "plugins" / "x"
    assert context.folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (UsageError("say which folder"), "say which folder"),
        (RuntimeError("broken"), "RuntimeError: broken"),
        (ExceptionGroup("several", [KeyError("k")]), "KeyError: 'k'"),
        (SystemExit(3), "SystemExit: 3"),
        (asyncio.CancelledError(), "it was cancelled, and not by the node"),
        (None, "it ended by itself"),
    ],
    ids=["ours", "a defect", "a group", "exit", "cancelled", "nothing"],
)
@pytest.mark.parametrize("when", ["made", "running"])
async def test_whatever_a_plugin_ends_with_is_told_and_it_is_begun_again(
    tmp_path: Path, failure: BaseException | None, told: str, when: str
) -> None:
    begun: list[int] = []

    async def run(*_: object) -> None:
        if len(begun) > 3:
            await forever()
        if failure is not None:
            raise failure

    def make(*_: object) -> Plugin:
        begun.append(1)
        if when == "made" and failure is not None and len(begun) <= 3:
            raise failure
        return Plugin(run)

    plugin = provider(tmp_path, make)
    async with running(plugin):
        await until(lambda: plugin.failures() == {"plugin x": told})
        await until(lambda: len(begun) > 3)
        await until(lambda: plugin.failures() == {})


async def test_what_is_no_plugin_at_all_is_told(tmp_path: Path) -> None:
    for nonsense in (lambda *_: None, 7, lambda *_: object()):
        plugin = provider(tmp_path, nonsense)
        async with running(plugin):
            await until(plugin.failures)
        assert list(plugin.failures()) == ["plugin x"]


async def test_what_a_plugin_says_that_fails_bears_its_name_and_is_bounded(tmp_path: Path) -> None:
    for said, told in (
        ({"stick": "gone"}, {"plugin x: stick": "gone"}),
        ({f"place {n}": "w" * 9999 for n in range(99)}, None),
        (ValueError("no"), {"plugin x": "ValueError: no"}),
        ("nonsense", None),
    ):
        plugin = provider(tmp_path, lambda *_, said=said: Plugin(forever, said))
        async with running(plugin):
            await until(plugin.failures)
            failures = plugin.failures()
        assert told is None or failures == told
        assert len(failures) <= FAILURES_MAX
        assert all(where.startswith("plugin x") and len(why) <= 300 for where, why in failures.items())


async def test_the_word_of_a_plugin_is_hearsay_whatever_it_claims(tmp_path: Path) -> None:
    claims = [
        Sighting(Source.STATIC, "192.168.1.7", 7677, TWO.node),  # of a private network
        Sighting(Source.MEMBER, "127.0.0.1", 7677, TWO.node),
        Sighting(Source.STATIC, "169.254.169.254", 80),
        Sighting(Source.STATIC, "example.net", 80),
        Sighting(Source.STATIC, "8.8.8.8", 0),
        Sighting(Source.STATIC, 134744072, 53),
        Sighting(Source.STATIC, "8.8.8.8", "53"),
        ("8.8.8.8", 53),
        None,
        Sighting(Source.STATIC, "8.8.8.8", 53, TWO.node),
    ]

    async def run(_: Announcement, found: Callable[[Any], None]) -> None:
        for one in claims:
            found(one)
        await forever()

    async with running(provider(tmp_path, lambda *_: Plugin(run))) as found:
        await until(lambda: found)
        assert found == [Sighting(Source.RELAYED, "8.8.8.8", 53, TWO.node)]


async def test_what_a_member_says_of_itself_counts_as_its_own_word(tmp_path: Path) -> None:
    def make(_: object, context: PluginContext) -> Plugin:
        async def run(announcement: Announcement, found: Callable[[Sighting], None]) -> None:
            theirs = PluginContext(tmp_path / "other").records(Shown(TWO))
            theirs._clock = ours_clock
            records = context.records(announcement)
            records._clock = ours_clock
            await records.sought()
            beacon = theirs.own()[0]
            for one in records.sightings(beacon.tag, theirs.sealed(beacon)):
                found(one)
            await forever()

        return Plugin(run)

    def ours_clock() -> float:
        return 1_800_000_000.0

    async with running(provider(tmp_path, make, loopback=True)) as found:
        await until(lambda: found)
        assert found == [Sighting(Source.MEMBER, "127.0.0.1", 7677, TWO.node)]


async def test_a_plugin_may_find_from_a_thread_of_its_own(tmp_path: Path) -> None:
    async def run(_: Announcement, found: Callable[[Sighting], None]) -> None:
        thread = threading.Thread(target=found, args=(Sighting(Source.STATIC, "8.8.8.8", 53),))
        thread.start()
        await forever()

    seen: list[int] = []
    plugin = provider(tmp_path, lambda *_: Plugin(run))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(plugin.run(Shown(ONE), lambda _: seen.append(threading.get_ident())))
        await until(lambda: seen)
        task.cancel()
    assert seen == [threading.get_ident()]


async def test_a_plugin_that_finds_without_end_is_heard_within_a_rate(tmp_path: Path) -> None:
    async def run(_: Announcement, found: Callable[[Sighting], None]) -> None:
        for n in range(20_000):
            found(Sighting(Source.STATIC, "8.8.8.8", n % 60_000 + 1))
        await forever()

    async with running(provider(tmp_path, lambda *_: Plugin(run))) as found:
        await until(lambda: found)
        assert SIGHTINGS_BURST <= len(found) < SIGHTINGS_BURST * 1.2


async def test_one_that_is_not_installed_says_so_and_which_package_it_might_be(tmp_path: Path) -> None:
    (plugin,) = plugins_of({"nowhere-to-be-found": {}}, tmp_path, allow_loopback=False)
    with pytest.raises(Unavailable, match="cis-discovery-nowhere-to-be-found"):
        await plugin.run(Shown(ONE), lambda _: None)
    assert "cis-discovery-nowhere-to-be-found" in plugin.failures()["plugin nowhere-to-be-found"]
    assert offered("nowhere-to-be-found") == []


async def test_two_packages_that_offer_one_name_are_refused(tmp_path: Path) -> None:
    entry: Any = Entry(lambda: lambda *_: Plugin(forever))
    plugin = PluginProvider("x", {}, PluginContext(tmp_path), entries=lambda _: [entry, entry])
    with pytest.raises(Unavailable, match="several installed packages"):
        await plugin.run(Shown(ONE), lambda _: None)
