"""The processes of a benchmark, seen from their parent: one request, one answer, a bound on each wait.

::

    with Child("node") as serving:
        serving.ask("create", home=str(folder), name="serving")
"""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from typing import IO, Any, Self

from cis.bench.figures import BenchFailed

ANSWER_S = 60.0
CLOSE_S = 10.0
_TAIL_BYTES = 4000


class Child:
    """One process, a role of this package or what ``command`` starts; leaving it as a context manager ends it."""

    def __init__(self, role: str, command: Sequence[str] = ()) -> None:
        self.role = role
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter and this package, or what a benchmark names
            command or [sys.executable, "-m", "cis.bench", role],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, request: str, /, timeout_s: float = ANSWER_S, **arguments: object) -> dict[str, Any]:
        """Return the answer to a request; `BenchFailed` where it fails, or takes too long."""
        self.send(request, **arguments)
        return self.answer(timeout_s)

    def send(self, request: str, /, **arguments: object) -> None:
        """Put a request; its `answer` is fetched later."""
        assert self._process.stdin is not None
        line = json.dumps({"request": request, **arguments}) + "\n"
        try:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        except OSError:
            raise BenchFailed(f"the {self.role} process ended: {self._tail()}") from None

    def answer(self, timeout_s: float = ANSWER_S) -> dict[str, Any]:
        """Wait for the answer to the oldest request that has none."""
        try:
            line = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            self._process.kill()  # it is stuck, and would not end politely either
            raise BenchFailed(f"no answer of the {self.role} process in {timeout_s:g} s: {self._tail()}") from None
        if not line:
            raise BenchFailed(f"the {self.role} process ended: {self._tail()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BenchFailed(f"the {self.role} process failed: {answer['error']} {self._tail()}")
        return answer

    def close(self) -> None:
        """End the process: politely, then not."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(CLOSE_S)
        self._log.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._answers.put(line)
        self._answers.put(b"")

    def _tail(self) -> str:
        size = self._log.seek(0, 2)
        self._log.seek(max(0, size - _TAIL_BYTES))
        return self._log.read().decode(errors="replace").strip()
