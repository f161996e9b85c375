"""What a node takes, as the system and its own metrics tell it."""

from __future__ import annotations

import asyncio
import os
import re
import time
from pathlib import Path

import msgspec

from soak.daemons import Daemon

_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_ASK_S = 30.0
MIB = 1 << 20


class Sample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One look at one process: sizes in MiB, ``at_s`` since the run began, ``cpu_s`` since the process did.

    ``pss`` counts what is shared by its share, ``anonymous`` is what belongs to no file: heaps and stacks;
    ``sqlite`` is what SQLite holds of that.
    """

    at_s: float
    node: str
    life: int
    rss: float
    pss: float
    anonymous: float
    threads: int
    cpu_s: float
    descriptors: int
    tasks: int
    blocks: int
    sqlite: float
    memories: int
    memory_db: float
    """with its journal"""
    index_db: float
    log: float


async def sample(daemon: Daemon, began: float) -> Sample | None:
    """Look at a node; None where it goes meanwhile."""
    life, folder = daemon.life, Path("/proc") / str(daemon.pid)
    try:
        metrics = await _metrics(daemon.metrics_port)
        sizes = _fields(folder / "smaps_rollup")
        status = _fields(folder / "status")
        user, system = (folder / "stat").read_text(encoding="ascii").rpartition(")")[2].split()[11:13]
    except (OSError, TimeoutError):
        return None
    if daemon.life != life or not daemon.up.is_set():
        return None
    return Sample(
        at_s=round(time.monotonic() - began, 2),
        node=daemon.name,
        life=life,
        rss=sizes["Rss"] / 1024,
        pss=sizes["Pss"] / 1024,
        anonymous=sizes["Anonymous"] / 1024,
        threads=status["Threads"],
        cpu_s=(int(user) + int(system)) / os.sysconf("SC_CLK_TCK"),
        descriptors=int(metrics["process_open_fds"]),
        tasks=int(metrics["cis_tasks"]),
        blocks=int(metrics["cis_python_blocks"]),
        sqlite=metrics["cis_sqlite_bytes"] / MIB,
        memories=int(metrics["cis_memories"]),
        memory_db=_files(daemon.home, "memory.db") / MIB,
        index_db=_files(daemon.home, "index.db") / MIB,
        log=daemon.log.stat().st_size / MIB,
    )


def _files(home: Path, name: str) -> int:
    """Return what a database and its journal take."""
    return sum(path.stat().st_size for path in home.glob(f"{name}*"))


def _fields(file: Path) -> dict[str, int]:
    """Read the lines of a file of /proc that say a number (of KiB, where they are sizes)."""
    found = re.findall(r"^(\w+):\s+(\d+)", file.read_text(encoding="ascii"), re.MULTILINE)
    return {name: int(value) for name, value in found}


async def _metrics(port: int) -> dict[str, float]:
    """Ask a node for its metrics; the last of those with labels stands for all."""
    async with asyncio.timeout(_ASK_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            text = (await reader.read()).decode()
        finally:
            writer.close()
    return {name: float(value) for name, _, value in _SAMPLE.findall(text.replace("\r\n", "\n"))}
