"""The command: tries a drawn share of all changes; the exit code is 1 where a room scores below what is asked."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from random import Random

from mutation.report import SCORE_MIN, Report, row_of
from mutation.workshop import ROOMS, Verdict, Workshop

FOLDER = Path("build/mutation")


def main(arguments: list[str] | None = None) -> int:
    """Draw, try, tell."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if unknown := [room for room in asked.rooms if room not in ROOMS]:
        parser.error(f"there is no room {unknown[0]} here: {', '.join(ROOMS)}")
    began, shop = time.monotonic(), Workshop(asked.folder)
    _say("making the changes, and learning which tests reach what")
    shop.prepare(keep=asked.keep)
    changes = {room: shop.names(room) for room in asked.rooms or ROOMS}
    tried = {room: draw(names, asked.share, f"{asked.seed} {room}") for room, names in changes.items()}
    _say(f"trying {sum(map(len, tried.values())):,} of {sum(map(len, changes.values())):,} changes")
    shop.run([name for names in tried.values() for name in names], asked.jobs)
    verdicts = shop.verdicts()
    unnoticed = [
        name for names in tried.values() for name in names if verdicts[name] not in {Verdict.KILLED, Verdict.TIMEOUT}
    ]
    report = Report(
        seed=asked.seed,
        share=asked.share,
        rows=[row_of(room, len(changes[room]), [verdicts[name] for name in names]) for room, names in tried.items()],
        survivors={name: f"{verdicts[name].value}\n{shop.difference(name)}" for name in unnoticed},
        seconds=time.monotonic() - began,
    )
    print(json.dumps(report.facts()) if asked.json else report.text(), flush=True)
    return 1 if report.failed else 0


def draw(names: Sequence[str], share: float, seed: str) -> list[str]:
    """Return so large a share of the names, one at least, the same ones for the same seed."""
    return sorted(Random(seed).sample(names, min(len(names), ceil(share * len(names)))))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mutation",
        description=f"Small changes in the code, of which the tests must notice {SCORE_MIN:.0%} in each room.",
        epilog="example: python -m mutation --share 0.05 --seed 1",
    )
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"of {', '.join(ROOMS)} (all)")
    parser.add_argument("--share", type=float, default=1.0, help="of all changes (1; all take hours)")
    parser.add_argument("--seed", type=int, default=1, help="what chance begins with (1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="changes tried at once (processors)")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"where the changes are made ({FOLDER})")
    parser.add_argument("--keep", action="store_true", help="take the changes that are there, if the code is the same")
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
