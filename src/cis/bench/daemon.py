"""The installed daemon as users run it, watched from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO, Self

from cis.api.control.client import connect_running
from cis.api.peers.network_schema import GetStatus, NodeStatus
from cis.bench.figures import BenchFailed

READY_S = 30.0
CLOSE_S = 15.0
_READY = b" is up"


class Daemon:
    """``cis up`` on a free port of loopback; it took ``start_s`` to say that it is up, ``start_cpu_s`` of a core.

    ``settings`` are variables of its environment, besides those of this process.
    """

    def __init__(self, home: Path, settings: Mapping[str, str] = MappingProxyType({})) -> None:
        self.home = home
        self._lines: list[bytes] = []
        self._ready = threading.Event()
        began = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter and this package
            [sys.executable, "-m", "cis", "--home", str(home), "up", "--listen", "127.0.0.1:0"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **settings},
        )
        assert self._process.stderr is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stderr,), daemon=True)
        self._reader.start()
        up = self._ready.wait(READY_S) and any(_READY in line for line in self._lines)
        self.start_s = time.monotonic() - began
        self.start_cpu_s = self.usage()[1] if up else 0.0
        if not up:
            self.close()
            raise BenchFailed(f"cis up did not start: {b''.join(self._lines).decode(errors='replace')}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def status(self) -> NodeStatus:
        """Ask it how it is."""
        with connect_running(self.home) as node:
            return node.call(GetStatus())

    def command_s(self, runs: int) -> float:
        """Return how long `cis status` takes as a process of its own: the shortest of so many."""
        command = [sys.executable, "-m", "cis", "--home", str(self.home), "status", "--json"]

        def took_s() -> float:
            began = time.monotonic()
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)  # noqa: S603 - this interpreter and this package
            return time.monotonic() - began

        return min(took_s() for _ in range(runs))

    def usage(self) -> tuple[float, float]:
        """Return resident memory in MB (10⁶ bytes) and processor seconds so far."""
        return usage_of(self._process.pid)

    def close(self) -> None:
        """End the process: politely, then not."""
        self._process.terminate()
        try:
            self._process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(CLOSE_S)

    def _read(self, lines: IO[bytes]) -> None:
        with lines:
            for line in lines:
                self._lines.append(line)
                if _READY in line:
                    self._ready.set()
        self._ready.set()


def usage_of(pid: int) -> tuple[float, float]:
    """Return resident memory in MB (10⁶ bytes) and processor seconds so far of a process."""
    folder = Path("/proc") / str(pid)
    if folder.exists():
        pages = int((folder / "statm").read_text().split()[1])
        user, system = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    command = ["ps", "-o", "rss=", "-o", "time=", "-p", str(pid)]
    kib, clock = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()  # noqa: S603 - see above
    seconds = sum(float(part) * 60**place for place, part in enumerate(reversed(clock.split(":"))))
    return int(kib) * 1024 / 1e6, seconds
