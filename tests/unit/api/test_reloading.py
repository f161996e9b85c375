"""Settings of a running node: what is taken up at once, what waits for a restart, and what changes nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cis.api.configuration import reloading
from cis.api.configuration.reload_schema import Reloaded
from cis.api.configuration.reloading import Reloading, Watched, on_hang_up
from cis.api.configuration.settings import Settings, load
from cis.errors import UsageError


class Scene:
    """A settings file, and what a node was told to let hold."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.taken: list[tuple[Settings, Settings]] = []
        self.reloading = Reloading(
            home / "config.toml",
            load(home),
            lambda: load(home),
            lambda before, after: self.taken.append((before, after)),
        )

    def write(self, text: str) -> None:
        (self.home / "config.toml").write_text(text, encoding="utf-8")

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Have the file watched from now on."""
        async with asyncio.TaskGroup() as group:
            running = group.create_task(self.reloading.run())
            await asyncio.sleep(0)
            yield
            running.cancel()

    async def until_taken(self) -> Settings:
        await until(lambda: self.taken)
        return self.taken[-1][1]


async def until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds, looking again after every turn of the loop."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(reloading, "LOOK_EVERY_S", 0.01)
    return Scene(tmp_path)


async def test_what_can_change_live_is_taken_up_and_the_rest_waits_by_name(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.write("[p2p]\nlisten_port = 1\n[p2p.sync]\ninterval = 5\n")
    with caplog.at_level(logging.INFO, "cis.api.configuration.reloading"):
        reloaded = await scene.reloading.reload()
    assert reloaded == Reloaded(applied=("p2p.sync.interval",), restart=("p2p.listen_port",))
    assert [(before.p2p.sync.interval, after.p2p.sync.interval) for before, after in scene.taken] == [(60, 5)]
    assert caplog.messages == ["settings taken up: p2p.sync.interval", "settings: restart to apply: p2p.listen_port"]
    assert scene.reloading.problem == "restart to apply: p2p.listen_port"


async def test_what_waits_for_a_restart_is_told_until_it_is_taken_back(scene: Scene) -> None:
    scene.write("[p2p]\nlisten_port = 1\n")
    await scene.reloading.reload()
    assert await scene.reloading.reload() == Reloaded(restart=("p2p.listen_port",))
    scene.write("")
    assert await scene.reloading.reload() == Reloaded()
    assert scene.reloading.problem == ""


async def test_settings_that_do_not_load_change_nothing_and_are_a_problem_until_mended(scene: Scene) -> None:
    scene.write("[p2p.sync]\nintervall = 5\n")
    with pytest.raises(UsageError, match=r"config\.toml:2: .* did you mean p2p\.sync\.interval\?"):
        await scene.reloading.reload()
    assert not scene.taken
    assert "config.toml:2" in scene.reloading.problem
    scene.write("[p2p.sync]\ninterval = 5\n")
    await scene.reloading.reload()
    assert scene.reloading.problem == ""


def test_a_file_is_read_once_it_rests_and_not_while_it_is_written() -> None:
    old, half, whole = (1, 10, 7), (2, 5, 7), (3, 12, 7)
    watched = Watched(old)
    looks = [old, half, whole, whole, whole, None, None, old, old]
    assert [watched.changed_and_rests(stamp) for stamp in looks] == [
        *(False, False, False, True, False),
        *(False, True),
        *(False, True),
    ]


@pytest.mark.parametrize("there_before", [False, True])
async def test_a_changed_file_is_taken_up_by_itself(scene: Scene, *, there_before: bool) -> None:
    if there_before:
        scene.write("[p2p.sync]\ninterval = 50\n")
    async with scene.watched():
        scene.write("[p2p.sync]\ninterval = 5\n")
        assert (await scene.until_taken()).p2p.sync.interval == 5


async def test_a_file_that_is_broken_does_not_end_the_watching(scene: Scene) -> None:
    async with scene.watched():
        scene.write("[p2p.sync\n")
        await until(lambda: scene.reloading.problem)
        scene.write("[p2p.sync]\ninterval = 5\n")
        assert (await scene.until_taken()).p2p.sync.interval == 5


@pytest.fixture
def hang_ups() -> Iterator[list[str]]:
    before, told = signal.getsignal(signal.SIGHUP), list[str]()
    yield told
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("had", "has", "outcome"), [(False, False, "reload"), (True, True, "reload"), (True, False, "end")]
)
async def test_sighup_reloads_but_ends_a_node_whose_terminal_is_gone(
    monkeypatch: pytest.MonkeyPatch, hang_ups: list[str], *, had: bool, has: bool, outcome: str
) -> None:
    monkeypatch.setattr(reloading, "_has_terminal", lambda: had)
    loop = asyncio.get_running_loop()
    on_hang_up(loop, lambda: hang_ups.append("reload"), lambda: hang_ups.append("end"))
    monkeypatch.setattr(reloading, "_has_terminal", lambda: has)
    os.kill(os.getpid(), signal.SIGHUP)
    await until(lambda: hang_ups)
    loop.remove_signal_handler(signal.SIGHUP)
    assert hang_ups == [outcome]


async def test_a_node_started_by_nohup_goes_on_without_its_terminal(
    monkeypatch: pytest.MonkeyPatch, hang_ups: list[str]
) -> None:
    monkeypatch.setattr(reloading, "_has_terminal", lambda: True)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    on_hang_up(asyncio.get_running_loop(), lambda: hang_ups.append("reload"), lambda: hang_ups.append("end"))
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
