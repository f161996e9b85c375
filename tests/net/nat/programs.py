"""Programs of the test bed that run for long: started in a namespace, awaited, ended by their own process id."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Self

from tests.net.nat.namespaces import BedError, Namespace

_END_S = 5.0
_READY_S = 10.0
_POLL_S = 0.02
_LOG_LINES = 20


def wait_until(
    holds: Callable[[], object],
    patience_s: float,
    what: str,
    *,
    poll_s: float = _POLL_S,
    seen: Callable[[], object] = lambda: "",
) -> None:
    """Poll until it holds; raises BedError with ``what`` never came, and what is ``seen`` then."""
    pause, deadline = threading.Event(), time.monotonic() + patience_s
    while not holds():
        if time.monotonic() > deadline:
            raise BedError(f"did not come within {patience_s:g} s: {what} {seen()}".rstrip())
        pause.wait(poll_s)


class Program:
    """One program; `ready` says when it answers, and its log goes to a file."""

    def __init__(
        self, namespace: Namespace, words: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        if shutil.which(words[0]) is None:
            raise BedError(f"not installed: {words[0]}")
        self._namespace = namespace
        self._words = list(words)
        self._path = log
        self._environment = environment
        self._log: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        self._log = self._path.open("ab")
        self._process = self._namespace.popen(
            self._words,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=self._environment,
        )
        try:
            wait_until(self._is_up, _READY_S, f"{self._words[0]} to be ready")
        except BedError as error:
            self.kill()
            raise BedError(f"{error}\n{self.said()}") from None

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)
            self._process = None
        if self._log is not None:
            self._log.close()

    def ready(self) -> bool:
        """Whether it does its work."""
        return True

    def said(self) -> str:
        """Return the end of its log."""
        return "\n".join(self._path.read_text(errors="replace").splitlines()[-_LOG_LINES:])

    def _is_up(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise BedError(f"{self._words[0]} ended by itself")
        return self.ready()
