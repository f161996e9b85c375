"""Take the pictures in ``docs/figures/screens/``: what commands print, and the live screens, of three real nodes.

::

    python -m tools.screens            # the nodes run on loopback, in a folder that is removed afterwards

The nodes are those of `cis demo`. So that there is something to see, all three are told to serve their metrics on one
port, which the first gets, and one of them is ended before most pictures are taken. A picture is text in an SVG: it
loads nothing from elsewhere.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from cis.api.memories.memory_schema import SetMemory
from cis.api.peers.network_schema import ConnectPeer, DisconnectPeer, GetStatus
from cis.apps.cli.demo import Node, three_nodes, until
from cis.apps.top.reading import Reader
from cis.apps.top.screen import TopApp
from tools.browser import why_not
from tools.web_screens import write_web_screens

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "figures" / "screens"
WIDTH = 110
TOP_SIZE = (100, 24)
WRITES = 160
INTERVAL_S = 2.0
_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
_NOTES = "What was agreed today, and what is left to do; the next of us goes on from here. "


def main() -> None:
    """Take all pictures."""
    os.environ["CIS_METRICS__ENABLED"] = "true"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cis-") as folder, three_nodes(Path(folder), _say) as nodes:
        _live(*nodes)
        _pictures(*nodes)


def _live(laptop: Node, workstation: Node, robot: Node) -> None:
    """Let something happen: memories, and one that two nodes change while they are apart."""
    for number in range(20):
        workstation.call(SetMemory(key=f"notes/{number}", value=_NOTES * (number + 1)))
    for other in (laptop, workstation):
        robot.call(DisconnectPeer(target=other.name))
    until(lambda: not robot.call(GetStatus()).connected, "the robot to be alone")
    laptop.call(SetMemory(key="editor", value="light", category="preference"))
    robot.call(SetMemory(key="editor", value="contrast", category="preference"))
    for other in (laptop, workstation):
        robot.call(ConnectPeer(target=other.name))
    nodes = (laptop, workstation, robot)
    until(lambda: len({one.public().state_hash for one in nodes}) == 1, "the nodes to agree")


def _pictures(laptop: Node, workstation: Node, robot: Node) -> None:
    _write("topology", command(workstation, "p2p", "topology"))
    _write("cluster", workstation.cis("p2p", "topology", "--svg", "-"))
    for file in write_web_screens(workstation.home, FOLDER):
        _say(str(file))
    if (reason := why_not()) is not None:
        _say(f"without the pictures of cis web: {reason}")
    robot.cis("down")
    until(lambda: workstation.call(GetStatus()).connected == (laptop.name,), "the robot to be gone")
    asyncio.run(_top(workstation, laptop))
    _write("status", command(workstation, "status"))
    _write("doctor", command(workstation, "doctor"))


def command(node: Node, *words: str) -> str:
    """Run a command and return a picture of it."""
    return picture(" ".join(("cis", *words)), f"{node.name}$ cis {' '.join(words)}\n{node.cis(*words)}")


def picture(title: str, text: str) -> str:
    """Return a picture of a terminal in which a text stands."""
    console = Console(width=WIDTH, file=io.StringIO(), record=True, force_terminal=True, highlight=False)
    console.print(Text(text.rstrip("\n")))
    return without_fonts(console.export_svg(title=title))


def without_fonts(svg: str) -> str:
    """Return a picture without the fonts it would load from elsewhere; the reader's own take their place."""
    return _FONT.sub("", svg)


async def _top(shown: Node, writer: Node) -> None:
    """Take pictures of the live screen while memories come and go."""
    app = TopApp(Reader(shown.home).read, INTERVAL_S)
    async with app.run_test(size=TOP_SIZE) as pilot:
        await pilot.press("s", "s", "s")
        for number in range(WRITES):
            await asyncio.to_thread(writer.call, SetMemory(key=f"log/{number}", value=_NOTES * (number % 7 * 10 + 1)))
            await pilot.pause(INTERVAL_S / 4)
        _write("top", without_fonts(app.export_screenshot()))
        await pilot.press("enter")
        await pilot.pause(INTERVAL_S)
        _write("top-peer", without_fonts(app.export_screenshot()))


def _write(name: str, svg: str) -> None:
    file = FOLDER / f"{name}.svg"
    file.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8")
    _say(str(file))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
