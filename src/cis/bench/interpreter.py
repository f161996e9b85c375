"""Python with nothing to do: what any process of ours takes at least."""

from __future__ import annotations

import subprocess
import sys
import time

from cis.bench.daemon import usage_of

RUNS = 5


def start_s() -> float:
    """Return seconds from asking for an interpreter to its end: the shortest of `RUNS`."""

    def took_s() -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        return time.perf_counter() - began

    return min(took_s() for _ in range(RUNS))


def rss_mb() -> float:
    """Return the memory an interpreter holds that waits for its end, MB of 10⁶ bytes."""
    waiting = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(  # noqa: S603 - this interpreter
        [sys.executable, "-c", waiting], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        held_mb, _ = usage_of(process.pid)
        process.communicate()
    return held_mb
