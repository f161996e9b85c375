"""Network namespaces of one process: made under names that no other process uses, and removed whatever happens.

The names are ``cis-PID-NAME``, as ``ip netns`` lists them. A process that died without clearing up leaves its
namespaces and what runs in them behind; the next one sweeps away all whose PID is gone.

::

    lan = make("lan")
    lan.ip("link set lo up", "link add eth0 type dummy")
    with lan.entered():
        sock = socket.socket(...)        # belongs to the namespace for as long as it lives
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PREFIX = "cis-"
_FOLDER = Path("/run/netns")
_SETTINGS = Path("/proc/sys/net")
_CLONE_NEWNET = 0x4000_0000
_COMMAND_S = 20
_LIBC = ctypes.CDLL(None, use_errno=True)


class BedError(Exception):
    """The test bed could not be built, or a program of it failed; the text is what it said."""


@dataclass(frozen=True)
class Namespace:
    """One network namespace; ``label`` is its name without the process."""

    label: str

    @property
    def name(self) -> str:
        """Its name, as ``ip netns`` knows it."""
        return f"{PREFIX}{os.getpid()}-{self.label}"

    def ip(self, *lines: str) -> None:
        """Run commands of ``ip``, all at once."""
        _run(["ip", "-n", self.name, "-batch", "-"], "\n".join(lines))

    def nft(self, script: str) -> None:
        """Load rules, all or none."""
        with self.entered():
            _run(["nft", "-f", "-"], script)

    def nft_json(self, *words: str) -> Any:
        """Return what ``nft list`` and the like say."""
        with self.entered():
            return json.loads(_run(["nft", "-j", *words]))["nftables"]

    def set(self, values: dict[str, str]) -> None:
        """Write kernel settings below ``/proc/sys/net``."""
        with self.entered():
            for path, value in values.items():
                (_SETTINGS / path).write_text(value)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Move this thread into the namespace for a while: sockets and processes it makes there stay there."""
        with Path("/proc/thread-self/ns/net").open("rb") as home, (_FOLDER / self.name).open("rb") as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def command(self, words: Sequence[str]) -> list[str]:
        """Return the command that runs these words in here, as anybody may type it."""
        return ["ip", "netns", "exec", self.name, *words]

    def run(self, *words: str) -> str:
        """Run a program in here that must succeed; returns what it printed."""
        return _run(self.command(words))

    def popen(self, words: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a program in here."""
        with self.entered():
            return subprocess.Popen(words, **options)


def make(*labels: str) -> list[Namespace]:
    """Make namespaces, with loopback up; those of dead processes go first."""
    _begin()
    made = [Namespace(label) for label in labels]
    _run(["ip", "-batch", "-"], "\n".join(f"netns add {one.name}" for one in made))
    for one in made:
        one.ip("link set lo up")
    return made


def remove(namespaces: Sequence[Namespace]) -> None:
    """End all that runs in the namespaces, and remove them."""
    _remove([one.name for one in namespaces])


def sweep() -> None:
    """Remove what processes that are gone have left."""
    _remove([name for name, pid in _owned() if not Path("/proc", pid).exists()])


@functools.cache
def _begin() -> None:
    """Sweep once in a process, and remove what an earlier process of the same PID left."""
    sweep()
    _remove([name for name, pid in _owned() if pid == str(os.getpid())])


def unfit() -> str:
    """Say why no test bed can be built here; empty where it can."""
    if os.name != "posix" or os.geteuid() != 0:
        return "network namespaces need root"
    if missing := [program for program in ("ip", "nft") if shutil.which(program) is None]:
        return f"not installed: {', '.join(missing)}"
    try:
        (probe,) = make("probe")
        try:
            probe.nft("table inet probe { set s { type ipv4_addr; flags dynamic; counter; }; }")
        finally:
            remove([probe])
    except (BedError, OSError) as error:
        return f"no network namespaces here: {error}"
    return ""


def _remove(names: Sequence[str]) -> None:
    for name in names:
        with contextlib.suppress(BedError, ProcessLookupError):
            for pid in _run(["ip", "netns", "pids", name]).split():
                os.kill(int(pid), signal.SIGKILL)
    for name in names:  # one at a time: another process may sweep the same
        with contextlib.suppress(BedError):
            _run(["ip", "netns", "del", name])


def _owned() -> list[tuple[str, str]]:
    """All namespaces of test beds, with the PIDs in their names."""
    names = [path.name for path in _FOLDER.glob(f"{PREFIX}*-*")] if _FOLDER.is_dir() else []
    owned = [(name, name.removeprefix(PREFIX).partition("-")[0]) for name in names]
    return [(name, pid) for name, pid in owned if pid.isdecimal()]


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _run(words: Sequence[str], given: str = "") -> str:
    ended = subprocess.run(words, input=given, capture_output=True, text=True, timeout=_COMMAND_S, check=False)
    if ended.returncode != 0:
        raise BedError(f"{' '.join(words)}: {ended.stderr.strip() or ended.stdout.strip()}")
    return ended.stdout
