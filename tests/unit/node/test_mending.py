"""Live connections: relayed ones look for a direct path when it is time, silent ones are mended or ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from cis.errors import Fault, Unavailable
from cis.model import NodeId
from cis.net.paths import Path
from cis.node.core import events
from cis.node.paths import mending
from cis.node.paths.mending import Around, Mending

OWN, PEER = NodeId(b"\x01" * 32), NodeId(b"\x09" * 32)
DIRECT = Path(SimpleNamespace(relayed=False), ("192.0.2.9", 7), "srflx", "host")
RELAYED = Path(SimpleNamespace(relayed=True), ("192.0.2.1", 7), "relay", "host")


class Line:
    """A connection that answers probes while it is not ``dead``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.dead = False
        self.suspect = False
        self.probes = 0
        self.on_suspect: Callable[[], None] | None = None
        self.closed: tuple[Fault, str] | None = None
        self._over = asyncio.Event()

    @property
    def closing(self) -> bool:
        return self.closed is not None

    def fall_silent(self) -> None:
        self.dead = self.suspect = True
        assert self.on_suspect is not None
        self.on_suspect()

    def probe(self) -> None:
        self.probes += 1
        self.suspect = self.suspect and self.dead

    def move(self, path: Path) -> None:
        self.path, self.dead = path, False

    def close(self, fault: Fault, text: str) -> None:
        self.closed = (fault, text)
        self._over.set()

    async def wait_closed(self) -> None:
        await self._over.wait()


class Bed:
    """Mending over negotiations a test decides."""

    def __init__(self, group: asyncio.TaskGroup, path: Path) -> None:
        self.asked: list[bool] = []
        self.finds: Path | None = None
        self.carried = True
        self.reported: list[events.Event] = []
        self.silences = 0
        around = Around(OWN, self.reported.append, lambda _: self.carried, lambda _: "peer", self.on_silence)
        self.mending = Mending(self, around)
        self.line = Line(path)
        self.link: Any = SimpleNamespace(id=1, node=PEER, connection=self.line)
        group.create_task(self.mending.tend(self.link))

    def on_silence(self) -> None:
        self.silences += 1

    async def renew(self, link: Any, *, relay: bool) -> None:
        self.asked.append(relay)
        if self.finds is None:
            raise Unavailable("no path to the peer")
        self.mending.move(link, self.finds)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("YIELD_S", "IMPROVE_PAUSE_S", "ASK_S"):
        monkeypatch.setattr(mending, name, 0.001)
    monkeypatch.setattr(mending, "SILENT_S", 0.05)
    monkeypatch.setattr(mending, "IMPROVE_AT_S", (0.01, 0.02, 0.03))


MakeBed = Callable[[Path], Awaitable[Bed]]


@pytest.fixture
async def make() -> AsyncIterator[MakeBed]:
    """Make beds, whose connections end with the test."""
    beds: list[Bed] = []
    async with asyncio.TaskGroup() as group:

        async def made(path: Path) -> Bed:
            beds.append(Bed(group, path))
            await beds[-1].until(lambda: beds[-1].line.on_suspect)
            return beds[-1]

        yield made
        for bed in beds:
            bed.line.close(Fault.NONE, "")


async def test_a_relayed_connection_looks_for_a_direct_path_again_and_again_and_moves(
    make: MakeBed, caplog: pytest.LogCaptureFixture
) -> None:
    bed = await make(RELAYED)
    assert "was not looked for yet" in bed.mending.why_not_better(1)
    await bed.until(lambda: len(bed.asked) == 3)
    assert bed.mending.why_not_better(1) == "no path to the peer"
    bed.finds = DIRECT
    caplog.set_level("INFO", "cis.node.paths.mending")
    bed.mending.hurry()
    await bed.until(lambda: bed.line.path is DIRECT)
    assert bed.asked == [False] * 4
    assert bed.reported == [events.Moved(1, relayed=False)]
    assert caplog.messages == ["connection with peer is now direct (was relayed), srflx to host"]
    assert bed.mending.why_not_better(1) == ""


async def test_what_has_been_relayed_for_long_is_looked_after_more_rarely(make: MakeBed) -> None:
    bed = await make(RELAYED)
    await bed.until(lambda: len(bed.asked) == 3)
    tended, pauses = bed.mending._tended[1], []
    for tended.attempts in (3, 4, 5, 6, 7, 1000):
        pauses.append(round((bed.mending._improve_at(tended) or 0.0) - tended.tried_at))
    assert pauses == [60, 120, 240, 480, 600, 600]
    bed.mending.hurry()
    await bed.until(lambda: len(bed.asked) == 4)


async def test_a_direct_connection_is_left_alone(make: MakeBed) -> None:
    bed = await make(DIRECT)
    bed.mending.hurry()
    bed.mending.probe()
    for _ in range(50):
        await asyncio.sleep(0)
    assert bed.asked == []
    assert bed.line.probes == 1


async def test_a_silent_connection_moves_to_a_path_that_works_relays_included(make: MakeBed) -> None:
    bed = await make(DIRECT)
    bed.finds = RELAYED
    bed.line.fall_silent()
    await bed.until(lambda: len(bed.reported) >= 3)
    assert bed.asked[0] is True
    assert bed.reported[:3] == [
        events.Suspected(1, suspect=True),
        events.Moved(1, relayed=True),
        events.Suspected(1, suspect=False),
    ]
    bed.line.close(Fault.NONE, "")


@pytest.mark.parametrize("carried", [True, False])
async def test_a_silent_connection_without_another_path_is_dialled_again_and_ends(make: MakeBed, carried: bool) -> None:
    bed = await make(DIRECT)
    bed.carried = carried
    bed.line.fall_silent()
    await bed.until(lambda: bed.line.closing)
    assert bed.reported == [events.Suspected(1, suspect=True), events.Suspected(1, suspect=True, redial=True)]
    assert bed.asked == [True] * carried
    assert bed.line.closed is not None
    assert bed.line.closed[0] is Fault.TOO_SLOW
    assert bed.line.probes > 5


async def test_a_connection_that_answers_one_of_many_questions_lives(make: MakeBed) -> None:
    bed = await make(DIRECT)
    bed.line.fall_silent()
    await bed.until(lambda: bed.line.probes == 8)
    bed.line.dead = False
    await bed.until(lambda: bed.reported[-1] == events.Suspected(1, suspect=False))
    assert not bed.line.closing
