"""What a node sets for its process: its threads share what they allocate from, and give way to each other."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cis.node.process import ARENAS_MAX, SWITCH_S, prepare_process

THREADS = 12
SCRIPT = f"""
import ctypes, sys, threading
from cis.node.process import bound_arenas
if sys.argv[1] == "bound" and not bound_arenas():
    sys.exit("nothing to bound")
together = threading.Barrier({THREADS} + 1)
def work():
    kept = bytearray(10_000)
    together.wait()
    together.wait()
for _ in range({THREADS}):
    threading.Thread(target=work).start()
together.wait()
system = ctypes.CDLL(None)
system.malloc_info(0, ctypes.c_void_p.in_dll(system, "stdout"))
system.fflush(None)
together.wait()
"""


def arenas(what: str) -> int:
    """How many arenas a process has in which threads allocate at once."""
    ran = subprocess.run([sys.executable, "-c", SCRIPT, what], capture_output=True, text=True, check=False)
    if what == "unbound" and ran.returncode:
        pytest.skip(f"this system's allocator tells nothing of arenas: {ran.stderr.strip()[-80:]}")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.count("<heap nr=")


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is meant")
def test_threads_that_allocate_at_once_share_few_arenas() -> None:
    assert arenas("unbound") > ARENAS_MAX >= arenas("bound")


def test_a_thread_that_computes_gives_way_to_others_soon() -> None:
    before = sys.getswitchinterval()
    try:
        prepare_process()
        assert sys.getswitchinterval() == pytest.approx(SWITCH_S)
        assert before > SWITCH_S
    finally:
        sys.setswitchinterval(before)
