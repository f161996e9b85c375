"""The command: a run, or the page of one that was made (``--again``); the exit code is 1 where it failed."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from soak.page import PLOT, page_of
from soak.report import Report, facts, report_of, text_of
from soak.run import STAYING_MIN, Plan, keep, lines_of, soak

RECORD = Path("build/soak.jsonl")


def main(arguments: list[str] | None = None) -> int:
    """Run, tell, and draw."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if asked.again is None:
        if asked.nodes < STAYING_MIN:
            parser.error(f"there must be {STAYING_MIN} nodes at least")
        plan = Plan(
            minutes=asked.minutes,
            nodes=asked.nodes,
            seed=asked.seed,
            writes_per_s=asked.writes,
            sample_s=asked.sample,
            churn_s=asked.churn,
            archive=asked.archive,
        )
        soak(plan, keep(asked.record), lambda line: print(line, file=sys.stderr, flush=True))
    report = report_of(lines_of(asked.again or asked.record))
    print(json.dumps(facts(report)) if asked.json else text_of(report), flush=True)
    if asked.figures is not None:
        draw(report, asked.figures)
    return 1 if report.failed else 0


def draw(report: Report, folder: Path) -> None:
    """Write the page and its plot."""
    from soak.plots import plot_soak  # noqa: PLC0415 - loads matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    plot_soak(report, folder / PLOT)
    (folder / "soak.md").write_text(page_of(report), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m soak",
        description="Real nodes under load for an hour, some of which go and come back: what grows?",
        epilog="example: python -m soak --minutes 60 --nodes 5 --seed 1 --figures docs/figures",
    )
    plan = Plan()
    parser.add_argument("--minutes", type=float, default=plan.minutes, help="how long under load (60)")
    parser.add_argument("--nodes", type=int, default=plan.nodes, help="how many, of which two are restarted (5)")
    parser.add_argument("--seed", type=int, default=plan.seed, help="what chance begins with (1)")
    parser.add_argument("--writes", type=float, default=plan.writes_per_s, help="writes a second of each node (1)")
    parser.add_argument("--sample", type=float, default=plan.sample_s, help="seconds between samples (10)")
    parser.add_argument("--churn", type=float, default=plan.churn_s, help="seconds from one departure to another (60)")
    parser.add_argument("--archive", type=int, default=plan.archive, help="memories there are to begin with (5000)")
    parser.add_argument("--record", type=Path, default=RECORD, help=f"where the samples go ({RECORD})")
    parser.add_argument("--again", type=Path, metavar="FILE", help="no run: tell and draw what such a file holds")
    parser.add_argument("--figures", type=Path, metavar="FOLDER", help="write the page and its plot there")
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
