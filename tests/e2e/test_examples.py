"""The examples of the Python API do what they say, against real nodes; and its promises hold between processes."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import cis
from tests.e2e.conftest import CONDITION_S, ROOT, Home

EXAMPLES = ROOT / "examples"
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
Couple = tuple[Home, Home]


def example(home: Home, name: str, *words: str) -> str:
    """Run an example in a home; returns what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "CIS_HOME": str(home.path)}
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *words]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert ended.returncode == 0, ended
    assert not ended.stderr
    return ended.stdout


def test_every_example_is_run_here() -> None:
    written = Path(__file__).read_text(encoding="utf-8")
    assert [path.name for path in sorted(EXAMPLES.glob("*.py")) if f'"{path.name}"' not in written] == []


def test_an_agent_remembers_searches_and_watches(couple: Couple) -> None:
    told = example(couple[0], "remember.py").splitlines()
    assert told[0] == "editor: dark mode by one"
    assert "builds: 1" in told
    assert "languages: ['Python', 'Rust']" in told
    assert "found: editor" in told
    assert "listed: project/icon b'\\x89PNG'" in told
    assert told[-1] == "changed: project/status by one"
    assert couple[1].wait(bool, "memory", "list", "--prefix", "project/status")


def test_a_script_keeps_its_memory_whether_a_node_runs_or_not(home: Home) -> None:
    first = example(home, "embedded.py", str(home.path))
    assert "public script/last {'run': 1, 'ok': True}" in first
    assert "private script/note" in first
    home.up()
    second = example(home, "embedded.py")
    assert "public script/last {'run': 2, 'ok': True}" in second
    assert "known: {'run': 2, 'ok': True} shown" in second


def test_two_members_talk_are_in_step_and_end_a_conflict(couple: Couple) -> None:
    first, second = couple
    first.cis("p2p", "disconnect", "two")
    second.wait(lambda status: not status["connected"], "status")
    first.cis("memory", "set", "plan", "tea")
    second.cis("memory", "set", "plan", "coffee")
    told = example(first, "two_devices.py", "two").splitlines()
    assert told[0].startswith("peer: two")
    assert told[1:] == ["heard: green from one", "in step with two", "resolved: plan as coffee"]
    second.wait(lambda found: not found, "memory", "conflicts")


def test_memories_are_retrieved_as_documents(couple: Couple) -> None:
    couple[0].cis("memory", "set", "kitchen/kettle", "boils water in two minutes")
    assert "kitchen/kettle: boils water in two minutes" in example(couple[0], "retriever.py", "kettle water")


def test_the_page_shows_the_examples_as_they_are() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 3
    for block in blocks:
        compile(block, "docs/python.md", "exec", flags=0x2000)  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


async def test_one_watches_what_another_node_writes(couple: Couple) -> None:
    first, second = couple
    threads = threading.active_count()
    async with cis.connect(first.path) as here, cis.connect(second.path) as there:
        await here.sync_with("two")
        async with asyncio.timeout(CONDITION_S), here.watch("watched/") as changes:
            await there.set("watched/1", {"from": "two"})
            change = await anext(changes)
            assert threading.active_count() == threads
        assert change.memory is not None
        assert (change.key, change.memory.value, change.author) == ("watched/1", {"from": "two"}, "two")
        assert (await here.peer("two")).state == "connected"


async def test_a_node_that_is_killed_ends_what_waits_for_it(home: Home) -> None:
    pid = home.up()["pid"]
    async with cis.connect(home.path) as memory, asyncio.timeout(CONDITION_S):
        async with memory.watch() as changes:
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(cis.Unavailable, match="ended"):
                await anext(changes)
        with pytest.raises(cis.Unavailable, match="cis up"):
            await memory.get("k")


def test_importing_cis_loads_nothing_of_it(tmp_path: Path) -> None:
    code = "import cis, sys; print([name for name in sys.modules if name.startswith('cis.')], 'asyncio' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert told.stdout.strip() == "[] False"


def test_the_store_is_free_once_it_is_left(home: Home) -> None:
    with cis.open(home.path) as memory:
        memory.set("k", "v")
        with pytest.raises(cis.StoreError):
            cis.open(home.path)
    home.up()
    with cis.open(home.path) as memory:
        assert memory.status().running
