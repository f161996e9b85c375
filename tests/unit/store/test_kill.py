"""Acknowledged is durable: a writing process is killed at random moments and nothing it reported is missing."""

from __future__ import annotations

import random
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stores import Author, open_store, text

ROOT = Path(__file__).resolve().parents[3]
_WRITER = """
import sys
from pathlib import Path
from tests.stores import Author, open_store, put, write
life = sys.argv[2]
with open_store(Path(sys.argv[1]), Author(1)) as store:
    for number in range(1_000_000):
        key = f"{life}/{number}"
        write(store, put(key, key), put("same", key))
        print(key, flush=True)
"""


@pytest.mark.timeout(60)
def test_what_was_acknowledged_survives_being_killed(tmp_path: Path) -> None:
    chance = random.Random(11)
    acknowledged: list[str] = []
    for life in range(5):
        acknowledged += _live_and_die(tmp_path / "s", life, chance.randrange(1, 300), chance.random() * 0.01)
        with open_store(tmp_path / "s", Author(1)) as store:
            assert store.check() == []
            assert [key for key in acknowledged if text(store, key) != key] == []
    assert len(acknowledged) > 50


def _live_and_die(folder: Path, life: int, lines: int, more_s: float) -> list[str]:
    """Kill the writer a moment after so many acknowledgements; return all it managed to print."""
    command = [sys.executable, "-c", _WRITER, str(folder), str(life)]
    environment = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(lines)]
        select.select([], [], [], more_s)
        process.send_signal(signal.SIGKILL)
        seen += process.stdout.readlines()
    return [line.strip() for line in seen if line.endswith("\n")]
