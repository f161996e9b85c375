"""The command line: ``python -m fuzz --help``."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

from fuzz.corpus import keep
from fuzz.hunting import Hunt, hunt, is_guided
from fuzz.page import page_of
from fuzz.registry import find, targets
from fuzz.target import Target


def main(arguments: list[str] | None = None) -> int:
    """Hunt, replay or keep; returns 1 where something was found that must not be, 2 for a target there is not."""
    asked = _parser().parse_args(arguments)
    try:
        chosen = [find(name) for name in asked.targets] or list(targets())
    except KeyError as unknown:
        print(f"there is no target {unknown}: --list names them", file=sys.stderr)
        return 2
    if asked.list:
        for target in chosen:
            print(f"{target.name:24} {(target.run.__doc__ or '').strip()}")
        return 0
    if asked.replay:
        return _replay(chosen[0], asked.replay)
    if not is_guided():
        print("atheris is not installed here: inputs are made blindly", file=sys.stderr)
    if asked.figures:
        asked.figures.mkdir(parents=True, exist_ok=True)
    hunts = []
    for target in chosen:
        hunts.append(_hunted(target, asked))
        if asked.keep:
            keep(target)
    if asked.json:
        print(json.dumps([{**asdict(one), "per_s": round(one.per_s, 1)} for one in hunts], default=str, indent=1))
    if asked.figures:
        words = shlex.join(sys.argv[1:] if arguments is None else arguments)
        (asked.figures / "fuzz.md").write_text(page_of(hunts, f"python -m fuzz {words}"), encoding="utf-8")
    return 1 if any(one.said for one in hunts) else 0


def _hunted(target: Target, asked: argparse.Namespace) -> Hunt:
    seconds = asked.seconds if asked.seconds is not None or asked.runs is not None else 60.0
    found = hunt(target, runs=asked.runs, seconds=seconds, seed=asked.seed)
    if not asked.json:
        figures = f"{found.inputs:>10,} inputs {found.per_s:>9,.0f}/s {found.edges:>7,} edges {found.peak_mb:>6,} MB"
        print(f"{target.name:24}{figures}  {'FOUND' if found.said else 'nothing found'}", flush=True)
        if found.said:
            print(found.said)
            print(f"python -m fuzz {target.name} --replay {found.crash}", flush=True)
    return found


def _replay(target: Target, paths: list[Path]) -> int:
    for path in paths:
        target.try_one(path.read_bytes())
        print(f"{path}: nothing found")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fuzz",
        description="Bytes from anywhere against everything that reads them; without a target all, 60 s each.",
        epilog="example: python -m fuzz wire.frames --runs 100000 --seed 1",
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="which, as --list names them")
    parser.add_argument("--runs", type=int, help="end after so many inputs")
    parser.add_argument("--seconds", type=float, help="end after so long")
    parser.add_argument("--seed", type=int, default=1, help="what chance begins with (1)")
    parser.add_argument("--replay", type=Path, nargs="+", metavar="FILE", help="try these inputs alone")
    parser.add_argument("--keep", action="store_true", help="keep the smallest new finds in fuzz/corpus")
    parser.add_argument("--list", action="store_true", help="name the targets, and what each must hold")
    parser.add_argument("--figures", type=Path, metavar="FOLDER", help="write fuzz.md there")
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
