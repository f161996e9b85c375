"""All faults one after the other, in full or in part, or those that are named.

::

    python -m faults                          # hours
    python -m faults power io_errors --share 0.1
"""

from __future__ import annotations

import argparse
import sys

from faults import clock, descriptors, io_errors, kill, memory, network, power, release, sick_disk, slow
from faults.report import Task, read, say, tell

MODULES = (power, io_errors, kill, sick_disk, descriptors, memory, slow, clock, network, release)


def main() -> None:
    """Read the arguments and do as they say; the exit code is 1 where anything was broken."""
    faults = {module.__name__.rpartition(".")[2]: module.FAULT for module in MODULES}
    parser = argparse.ArgumentParser(description="faults made on purpose: see docs/faults.md")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(faults)} (default: all)")
    parser.add_argument("--share", type=float, default=1.0, help="of how often each is done in full (default 1)")
    given = read(parser)
    if unknown := [name for name in given.names if name not in faults]:
        parser.error(f"there is no {unknown[0]}: {', '.join(faults)}")
    broken = False
    for name in given.names or faults:
        fault = faults[name]
        if reason := fault.unfit():
            say(f"{fault.name}: left out, {reason}")
            continue
        report = fault.perform(Task(given.seed, max(1, round(fault.count * given.share)), say=say))
        tell(report, as_json=given.json)
        broken |= bool(report.broken)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
