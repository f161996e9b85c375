"""`cis top` before real nodes: what it shows of one, that it outlives it, and the command on a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable

from textual.pilot import Pilot

from cis.apps.top.reading import Reader
from cis.apps.top.screen import TopApp
from tests.e2e.conftest import CONDITION_S, ROOT, Home

_COLOUR = re.compile(rb"\x1b\[(?:[\d;]*;)?(?:3[0-8]|4[0-8]|9\d|10\d)(?:;[\d;]*)?m")


def shown(app: TopApp) -> str:
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


async def until(pilot: Pilot[None], holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + CONDITION_S
    while not holds():
        assert time.monotonic() < deadline, f"never came:\n{shown(pilot.app)}"
        await pilot.pause(0.05)


async def test_it_shows_two_nodes_in_step_and_outlives_one_that_stops(couple: tuple[Home, Home]) -> None:
    one, two = couple
    two.cis("memory", "set", "editor", "dark mode")
    app = TopApp(Reader(one.path).read, 0.2)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "1 memory in 2 spaces" in shown(app))
        await until(pilot, lambda: re.search(r"two +lan +[\d.]+ ms.* in step", shown(app)))
        await until(pilot, lambda: re.search(r"gossip +.* most +[\d.]+ K?B/s", shown(app)))
        await pilot.press("enter")
        await until(pilot, lambda: "two: connected for" in shown(app))
        await pilot.press("escape")
        one.cis("down")
        await until(pilot, lambda: "start it with `cis up`; this is what it said" in shown(app))
        one.up()
        await until(pilot, lambda: "start it with" not in shown(app))
        await until(pilot, lambda: re.search(r"two +lan", shown(app)))


def test_on_a_terminal_that_wants_no_colours_it_sends_none_and_ends_by_q(couple: tuple[Home, Home]) -> None:
    home, _ = couple
    terminal, line = pty.openpty()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CIS_")},
        "PYTHONPATH": str(ROOT / "src"),
        "CIS_HOME": str(home.path),
        "NO_COLOR": "1",
        "TERM": "xterm-256color",
        "COLUMNS": "80",
        "LINES": "24",
    }
    command = [sys.executable, "-m", "cis", "top"]
    with subprocess.Popen(command, stdin=line, stdout=line, stderr=line, env=environment) as top:
        os.close(line)
        sent = read_until(terminal, b"in step")
        os.write(terminal, b"q")
        sent += read_until(terminal, b"")
        assert top.wait(CONDITION_S) == 0
    os.close(terminal)
    assert b"Traceback" not in sent
    assert _COLOUR.findall(sent) == []


def read_until(terminal: int, wanted: bytes) -> bytes:
    """What is sent until that is in it; until nobody holds the other end, where nothing is wanted."""
    sent, deadline = b"", time.monotonic() + CONDITION_S
    while not wanted or wanted not in sent:
        assert time.monotonic() < deadline, sent
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                sent += os.read(terminal, 65536)
            except OSError:  # the other end was closed
                break
    return sent


def test_where_no_node_runs_or_nobody_looks_it_says_so(home: Home, couple: tuple[Home, Home]) -> None:
    away, piped = home.run("top"), couple[0].run("top")
    assert (away.code, piped.code) == (3, 2)
    assert "cis up" in away.err
    assert "cis status --json" in piped.err
