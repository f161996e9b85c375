"""The libp2p provider and its worker: what the worker is told, and that nothing it does harms the node."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cis.discovery.libp2p import provider as provider_module
from cis.discovery.libp2p.options import Libp2pOptions
from cis.discovery.libp2p.provider import Libp2pProvider
from cis.discovery.provider import SLOT_SECONDS, Announcement, Sighting
from cis.discovery.sealed import SealedRecords
from cis.errors import Unavailable
from cis.model import NodeId
from cis.trust.beacons import beacon_slot, beacon_tag
from tests.unit.discovery.test_sealed import KEY, NOW, ONE, TWO, Shown

POLL_S = 0.01
PEER = "12D3KooWKnDdG3iXw9eTFijk3EWSunZcFi54Zka4wmtqtt6rPxc8"
OPTIONS = Libp2pOptions((f"/ip4/127.0.0.1/tcp/9/p2p/{PEER}",), public_bootstrap=False, allow_loopback=True)


class Run:
    """A provider with a worker that behaves as told, and what came of it."""

    def __init__(self, folder: Path, conduct: str, reply: bytes = b"") -> None:
        self.log = folder / "told"
        self.now = NOW
        self.found: list[Sighting] = []
        command = (sys.executable, "-m", "tests.unit.discovery.libp2p_double", conduct, str(self.log), reply.hex())
        look_s = 60.0 if conduct == "flood" else POLL_S
        self.provider = Libp2pProvider(OPTIONS, clock=lambda: self.now, command=command, look_s=look_s)

    def told(self, said: str) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [told for line in lines if (told := json.loads(line))["said"] == said]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(POLL_S)


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the double be found from the folder that workers start in, and failures cost no time."""
    paths = [str(Path(__file__).resolve().parents[3]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))
    monkeypatch.setattr(provider_module, "PAUSE_S_MIN", POLL_S)
    monkeypatch.setattr(provider_module, "PAUSE_S_MAX", POLL_S)


@asynccontextmanager
async def ran(folder: Path, conduct: str, reply: bytes = b"", shown: Announcement | None = None) -> AsyncIterator[Run]:
    run = Run(folder, conduct, reply)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(run.provider.run(shown or Shown(ONE), run.found.append))
        try:
            yield run
        finally:
            task.cancel()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_worker_is_told_this_nodes_tag_and_the_others_tags_and_nothing_that_opens_them(
    tmp_path: Path,
) -> None:
    slot = beacon_slot(NOW)
    async with ran(tmp_path, "well") as run:
        await run.until(lambda: run.told("seek"))
        [show], [seek] = run.told("show"), run.told("seek")
    assert bytes.fromhex(show["tag"]) == beacon_tag(KEY, slot, ONE.node)
    assert show["hosts"] == ["127.0.0.1", "169.254.169.254"]
    sought = [beacon_tag(KEY, slot + by, TWO.node) for by in (0, -1, 1)]
    assert [[bytes.fromhex(tag) for tag in tags] for tags in seek["members"]] == [sought]
    assert KEY.hex() not in run.log.read_text()
    assert ONE.seed.hex() not in run.log.read_text()


async def test_a_worker_gets_no_environment_but_what_a_python_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIS_PASSPHRASE", "secret")
    async with ran(tmp_path, "well") as run:
        await run.until(lambda: run.told("started"))
        [started] = run.told("started")
    assert set(started["environment"]) <= {"PATH", "PYTHONPATH", "LANG", "LC_ALL", "LC_CTYPE", "TEMP", "TMP", "TMPDIR"}
    assert started["folder"] == Path(sys.executable).anchor


async def test_a_members_record_is_sighted_and_the_member_sought_no_more_for_a_while(tmp_path: Path) -> None:
    left = SealedRecords(Shown(TWO), clock=lambda: NOW)
    async with ran(tmp_path, "well", left.sealed(left.own()[0])) as run:
        await run.until(lambda: run.found)
        assert [(one.node, one.host) for one in run.found] == [(TWO.node, "127.0.0.1")]
        await run.until(lambda: len(run.told("seek")) == 2)
        assert run.told("seek")[1]["members"] == []
        run.now += 301
        await run.until(lambda: len(run.told("seek")) == 3)
        assert len(run.told("seek")[2]["members"]) == 1


async def test_members_that_are_connected_are_not_sought(tmp_path: Path) -> None:
    class Connected(Shown):
        others: frozenset[NodeId] = frozenset()

        def connected(self) -> frozenset[NodeId]:
            return self.others

    shown = Connected(ONE)
    async with ran(tmp_path, "well", shown=shown) as run:
        await run.until(lambda: run.told("seek"))
        shown.others = frozenset((TWO.node,))
        await run.until(lambda: len(run.told("seek")) == 2)
        assert run.told("seek")[1]["members"] == []


async def test_another_network_has_a_worker_of_its_own_once_the_last_has_lived_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_module, "MOVE_S", 0.5)
    async with ran(tmp_path, "well") as run:
        await run.until(lambda: run.told("show"))
        for _ in range(3):
            run.provider.network_changed()
        await run.until(lambda: len(run.told("show")) == 2)
        first, second = run.told("show")
        assert (first["tag"], first["pid"] == second["pid"]) == (second["tag"], False)
        await run.until(lambda: not alive(first["pid"]))
    assert len(run.told("started")) == 2


async def test_every_slot_has_a_worker_of_its_own_with_another_tag(tmp_path: Path) -> None:
    async with ran(tmp_path, "well") as run:
        await run.until(lambda: run.told("show"))
        run.now += SLOT_SECONDS + 61
        await run.until(lambda: len(run.told("show")) == 2)
        first, second = run.told("show")
        assert first["tag"] != second["tag"]
        assert first["pid"] != second["pid"]
        await run.until(lambda: not alive(first["pid"]))
        assert run.provider.failures() == {}
    await run.until(lambda: not alive(second["pid"]))


async def test_a_node_that_is_alone_has_no_worker(tmp_path: Path) -> None:
    class Alone(Shown):
        asked = 0

        def other_beacons(self, slot: int, /) -> dict[bytes, Any]:
            self.asked += 1
            return {}

    alone = Alone(ONE)
    async with ran(tmp_path, "well", shown=alone) as run:
        await run.until(lambda: alone.asked > 9)
    assert run.told("started") == []


@pytest.mark.parametrize(
    ("conduct", "problem"),
    [
        ("dies", "ended by itself"),
        ("garbage", "said what it never should"),
        ("oversized", "said what it never should"),
        ("flood", "says more than there is to say"),
        ("PORT", "cannot listen on TCP port 0"),
        ("BROKEN", "does not load"),
    ],
)
async def test_a_worker_that_fails_is_replaced_and_what_is_wrong_is_told(
    tmp_path: Path, conduct: str, problem: str
) -> None:
    async with ran(tmp_path, conduct) as run:
        await run.until(lambda: len(run.told("begin")) >= 3)
        await run.until(lambda: problem in run.provider.failures().get("libp2p", ""))
        assert run.found == []
    await run.until(lambda: not any(alive(told["pid"]) for told in run.told("started")))


async def test_what_no_member_made_leads_nowhere_and_does_not_end_the_worker(tmp_path: Path) -> None:
    left = SealedRecords(Shown(TWO), clock=lambda: NOW)
    async with ran(tmp_path, "noise", left.sealed(left.own()[0])) as run:
        await run.until(lambda: run.found)
        assert {one.node for one in run.found} == {TWO.node}
        assert len(run.told("started")) == 1


async def test_no_entry_point_that_answers_is_a_problem_told_while_the_worker_goes_on(tmp_path: Path) -> None:
    async with ran(tmp_path, "LONELY") as run:
        await run.until(run.provider.failures)
        assert "no entry point" in run.provider.failures()["libp2p"]
        assert run.provider.pid is not None
        assert alive(run.provider.pid)


async def test_a_worker_that_is_killed_is_replaced(tmp_path: Path) -> None:
    async with ran(tmp_path, "well") as run:
        await run.until(lambda: run.told("seek"))
        os.kill(run.told("started")[0]["pid"], 9)
        await run.until(lambda: len(run.told("seek")) == 2)


async def test_what_the_worker_complains_of_is_in_the_debug_log_without_addresses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="cis.discovery.libp2p"):
        async with ran(tmp_path, "well") as run:
            await run.until(lambda: "a complaint about" in caplog.text)
    assert "192.0.2.7" not in caplog.text


async def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_module, "is_installed", lambda: False)
    with pytest.raises(Unavailable, match=r"pip install 'cis-node\[libp2p\]'"):
        await Libp2pProvider(OPTIONS).run(Shown(ONE), lambda _: None)
