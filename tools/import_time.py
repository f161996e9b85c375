"""How long ``import cis`` takes, and what is loaded when a client is first made: medians over fresh processes.

::

    python tools/import_time.py        # import cis, cis.connect, cis.open: milliseconds above a bare interpreter
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 15
LIMIT_MS = 50.0
STATEMENTS = ("pass", "import cis", "import cis; cis.connect", "import cis; cis.open")


def took_ms(statement: str) -> float:
    """Return how long a fresh interpreter takes to run a statement."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)  # noqa: S603 - this very interpreter
    return (time.perf_counter() - began) * 1000


def main() -> int:
    """Print the table; 1 where ``import cis`` is above its limit."""
    rounds = [{statement: took_ms(statement) for statement in STATEMENTS} for _ in range(RUNS)]
    figures = {one: statistics.median(each[one] - each["pass"] for each in rounds) for one in STATEMENTS[1:]}
    for statement, milliseconds in figures.items():
        print(f"{statement:26} {milliseconds:7.1f} ms")
    return int(figures["import cis"] > LIMIT_MS)


if __name__ == "__main__":
    sys.exit(main())
