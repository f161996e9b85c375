"""`cis demo`: three real nodes on this machine are joined, cut apart, edited on both sides, healed and compared.

Everything goes through the commands and the control API a user has; nothing is prepared. Exits 1, saying what
is off, when the three do not end up with the same memories, or not with the right ones.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cis.api.control.client import connect
from cis.api.memories.memory_schema import (
    AddToMemory,
    DeleteMemory,
    GetMemory,
    IncrementMemory,
    ListConflicts,
    MemoryStats,
    RemoveFromMemory,
    SetMemory,
    SpaceStats,
)
from cis.api.peers.network_schema import ConnectPeer, DisconnectPeer, GetStatus
from cis.errors import CisError

NAMES = ("laptop", "workstation", "robot")
PATIENCE_S = 30.0
POLL_S = 0.02
COMMAND_S = 60.0


class Off(CisError):
    """The demo found something wrong."""


@dataclass
class Node:
    """One of the three: a home, its daemon, and a client of it."""

    name: str
    home: Path
    client: Any = None

    def cis(self, *arguments: str) -> str:
        """Run a command of this node as a user would; raises `Off` with what it said where it fails."""
        # Vectors follow behind the writes, and would change the state while it is compared.
        quiet = {"CIS_P2P__DISCOVERY__ENABLE_MDNS": "false", "CIS_MEMORY__EMBEDDING__PROVIDER": "off"}
        environment = {**os.environ, **quiet}
        command = [sys.executable, "-m", "cis", "--home", str(self.home), *arguments]
        done = subprocess.run(  # noqa: S603 - our own command
            command, env=environment, capture_output=True, text=True, timeout=COMMAND_S, check=False
        )
        if done.returncode:
            raise Off(f"`cis {' '.join(arguments)}` on {self.name} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def call(self, request: Any) -> Any:  # noqa: ANN401 - the request's own reply
        """Ask this node over its control socket."""
        return self.client.call(request)

    def public(self) -> SpaceStats:
        """Return the statistics of the public space."""
        spaces: tuple[SpaceStats, ...] = self.call(MemoryStats()).spaces
        return next(space for space in spaces if space.name == "public")

    def value(self, key: str) -> Any:  # noqa: ANN401 - whatever was stored
        """Return what this node shows for a key, None where it shows nothing."""
        memory = self.call(GetMemory(key=key))
        return None if memory is None else memory.value


@dataclass
class Story:
    """What happened, for the table and for ``--json``."""

    say: Callable[[str], None]
    imported: int = 0
    first_s: float = 0.0
    heal_s: float = 0.0
    apart: dict[str, dict[str, object]] = field(default_factory=dict)
    together: dict[str, dict[str, object]] = field(default_factory=dict)


def run_demo(keep: Path | None, as_json: bool) -> int:
    """Run the demo; returns the exit code. ``keep`` is a folder to leave the three homes in."""
    story = Story(lambda text: print(text, file=sys.stderr if as_json else sys.stdout, flush=True))
    began = time.monotonic()
    try:
        with _folder(keep) as folder, three_nodes(folder, story.say) as nodes:
            _tell(nodes, story)
    except CisError as error:
        print(f"cis: the demo failed: {error}", file=sys.stderr)
        return error.exit_code
    took_s = time.monotonic() - began
    if as_json:
        print(json.dumps(_summary(story, took_s)))
    else:
        _print_table(story, took_s)
    return 0


def _tell(nodes: list[Node], story: Story) -> None:
    laptop, workstation, robot = nodes
    corpus = _corpus()
    story.say(f"importing {corpus.name}/ on {laptop.name}, editing on all three")
    laptop.cis("memory", "import", str(corpus))
    laptop.call(SetMemory(key="editor", value="dark", category="preference"))
    workstation.call(IncrementMemory(key="builds", by=2))
    robot.call(AddToMemory(key="rooms", values=("kitchen", "hall")))
    story.first_s = _converge(nodes)
    story.imported = laptop.public().memories - 3

    story.say(f"cutting {robot.name} off, editing on both sides")
    for other in (laptop, workstation):
        robot.call(DisconnectPeer(target=other.name))
    until(lambda: not robot.call(GetStatus()).connected, f"{robot.name} to be cut off")
    doomed = next(memory for memory in ("architecture", "protocol") if laptop.value(memory) is not None)
    laptop.call(SetMemory(key="editor", value="light", category="preference"))
    robot.call(SetMemory(key="editor", value="contrast", category="preference"))
    workstation.call(DeleteMemory(key=doomed))
    workstation.call(IncrementMemory(key="builds", by=5))
    robot.call(IncrementMemory(key="builds", by=-1))
    laptop.call(AddToMemory(key="rooms", values=("attic",)))
    laptop.call(RemoveFromMemory(key="rooms", values=("hall",)))
    robot.call(AddToMemory(key="rooms", values=("cellar",)))
    _converge([laptop, workstation])
    story.apart = {node.name: _shown(node, doomed) for node in nodes}

    story.say("healing")
    began = time.monotonic()
    for other in (laptop, workstation):
        robot.call(ConnectPeer(target=other.name))
    _converge(nodes)
    story.heal_s = time.monotonic() - began
    story.together = {node.name: _shown(node, doomed) for node in nodes}
    _judge(nodes, doomed)


def _judge(nodes: list[Node], doomed: str) -> None:
    """Raise `Off` where the outcome is not the one right outcome."""
    editors = {node.value("editor") for node in nodes}
    if len(editors) != 1 or not editors <= {"light", "contrast"}:
        raise Off(f"the three show different editors: {sorted(map(str, editors))}")
    loser = ({"light", "contrast"} - editors).pop()
    for node in nodes:
        conflicts = {conflict.key: conflict for conflict in node.call(ListConflicts())}
        if set(conflicts) != {"editor"} or [other.value for other in conflicts["editor"].values[1:]] != [loser]:
            raise Off(f"{node.name} does not list the losing editor as a conflict: {sorted(conflicts)}")
        if node.value("builds") != 6:
            raise Off(f"{node.name} counts {node.value('builds')} builds instead of 6")
        if sorted(node.value("rooms")) != ["attic", "cellar", "kitchen"]:
            raise Off(f"{node.name} has the rooms {node.value('rooms')}")
        if node.value(doomed) is not None:
            raise Off(f"{node.name} still shows {doomed!r}, which was deleted")


def _shown(node: Node, doomed: str) -> dict[str, object]:
    stats = node.public()
    return {
        "held": stats.memories,
        "editor": node.value("editor"),
        "builds": node.value("builds"),
        "rooms": " ".join(sorted(node.value("rooms"))),
        "note": "there" if node.value(doomed) is not None else "gone",
        "conflicts": len(node.call(ListConflicts())),
        "state": stats.state_hash[:8],
    }


def _converge(nodes: list[Node]) -> float:
    """Wait until all have the same state; returns the seconds it took."""
    began = time.monotonic()
    until(lambda: len({node.public().state_hash for node in nodes}) == 1, "the nodes to agree")
    return time.monotonic() - began


def until(condition: Callable[[], object], what: str) -> None:
    """Wait until something holds; raises `Off`, naming it, where it does not come."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise Off(f"waited {PATIENCE_S:.0f} s in vain for {what}")
        time.sleep(POLL_S)


@contextlib.contextmanager
def three_nodes(folder: Path, say: Callable[[str], None]) -> Iterator[list[Node]]:
    """Three nodes of one cluster, running; they are stopped in the end, whatever happens."""
    nodes = [Node(name, folder / name) for name in NAMES]
    with contextlib.ExitStack() as stack:
        say(f"starting {', '.join(NAMES)}")
        for node in nodes:
            node.cis("init", "--name", node.name)
            if node is not nodes[0]:
                ticket = json.loads(nodes[0].cis("invite", "--json"))["ticket"]
                node.cis("join", ticket, "--yes")
            stack.callback(_stop, node)
            node.cis("up", "--listen", "127.0.0.1:0", "--detach")
            node.client = stack.enter_context(connect(node.home))
        until(
            lambda: all(len(node.call(GetStatus()).connected) == len(nodes) - 1 for node in nodes),
            "all to meet",
        )
        yield nodes


def _stop(node: Node) -> None:
    with contextlib.suppress(Off):
        node.cis("down")


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    folder = Path(tempfile.mkdtemp(prefix="cis-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _corpus() -> Path:
    """The project's own documentation: beside the package when installed, in the repository otherwise."""
    package = Path(__file__).parents[2]
    for folder in (package / "docs", package.parents[1] / "docs"):
        if folder.is_dir():
            return folder
    raise Off("the documentation that the demo imports is missing from this installation")


def _summary(story: Story, took_s: float) -> dict[str, object]:
    return {
        "imported": story.imported,
        "first_converge_s": round(story.first_s, 3),
        "heal_converge_s": round(story.heal_s, 3),
        "apart": story.apart,
        "together": story.together,
        "took_s": round(took_s, 1),
        "equal": True,
    }


def _print_table(story: Story, took_s: float) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console(width=100)
    for title, rows in (("while apart", story.apart), ("healed", story.together)):
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
        table.add_column("node", no_wrap=True)
        for heading in next(iter(rows.values())):
            table.add_column(heading, no_wrap=True)
        for name, row in rows.items():
            table.add_row(name, *(str(cell) for cell in row.values()))
        console.print(table)
    print(
        f"{story.imported} notes imported; agreed {story.first_s:.2f} s after the first edits and {story.heal_s:.2f} s "
        f"after healing; the losing editor is kept as a conflict; state hashes equal ({took_s:.0f} s in all)"
    )
