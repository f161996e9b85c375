"""A process of a benchmark: ``python -m cis.bench ROLE`` answers its parent's requests on standard input."""

from __future__ import annotations

import sys

from cis.bench.roles import run_role

if __name__ == "__main__":
    run_role(sys.argv[1])
