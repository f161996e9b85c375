"""``python -m bench.peers``, run in the folder of the repository."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.peers.catalogue import CONTESTANTS, contestant
from bench.peers.page import page_of
from bench.peers.report import Report, machine, run_all
from bench.peers.transport import measure
from cis.bench.figures import require_figures

ROUNDS = 5
HANDSHAKES = 100
_NAMES = tuple(one.name for one in CONTESTANTS)
_EXAMPLE = "Example: python -m bench.peers cis yjs pouchdb --entries 1000 --no-transport"


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for; returns 1 where somebody's figures are missing."""
    parser = _parser()
    asked = parser.parse_args(argv)
    if unknown := [name for name in asked.names if name not in _NAMES]:
        parser.error(f"nobody here is called {', '.join(unknown)}: choose from {', '.join(_NAMES)}")
    report = Report(
        sizes=asked.entries,
        runs=asked.runs,
        limit_s=asked.limit,
        updates=asked.updates,
        pause_s=asked.pause / 1e3,
        command=_command(asked),
        machine=machine(),
    )
    if asked.figures is not None:
        require_figures()
    chosen = [contestant(name) for name in asked.names] if asked.names else list(CONTESTANTS)
    run_all(report, chosen, asked.scratch)
    if asked.transport:
        report.carried, report.carried_not = measure(ROUNDS, HANDSHAKES)
    _hand_out(report, asked.figures, asked.json)
    return 1 if report.left_out or report.carried_not or any(report.failures.values()) else 0


def _hand_out(report: Report, figures: Path | None, file: Path | None) -> None:
    sys.stdout.write(page_of(report))
    if file is not None:
        file.write_text(json.dumps(dataclasses.asdict(report), indent=2) + "\n")
    if figures is not None:
        from bench.peers.plots import plot_carriers, plot_peers  # noqa: PLC0415 - matplotlib, where it is asked for

        figures.mkdir(parents=True, exist_ok=True)
        (figures / "peers.md").write_text(page_of(report, plots=True))
        plot_peers(report, figures / "peers.png")
        if report.carried:
            plot_carriers(report, figures / "peers-transport.png")


def _sizes(text: str) -> tuple[int, ...]:
    """Return numbers of entries, the fewest first; `ValueError` where one is none."""
    sizes = sorted({int(one) for one in text.split(",")})
    if sizes[0] < 1:
        raise ValueError("fewer than one entry")
    return tuple(sizes)


def _command(asked: argparse.Namespace) -> str:
    """Return the command that makes the same again."""
    entries = ",".join(str(size) for size in asked.entries)
    names = "".join(f" {name}" for name in asked.names)
    options = f"--entries {entries} --updates {asked.updates} --pause {asked.pause:g}"
    bounds = f"--runs {asked.runs} --limit {asked.limit:g}"
    rest = "" if asked.transport else " --no-transport"
    return f"python -m bench.peers{names} {options} {bounds}{rest} --figures docs/figures"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m bench.peers", description="cis beside others.", epilog=_EXAMPLE)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"who takes part; all by default: {', '.join(_NAMES)}")
    parser.add_argument(
        "--entries", type=_sizes, default="10000,100000", help="how many, several with commas (default %(default)s)"
    )
    parser.add_argument(
        "--updates", type=int, default=100, help="live updates each, on the fewest entries (default %(default)s)"
    )
    parser.add_argument("--pause", type=float, default=300.0, metavar="MS", help="before each (default %(default)s)")
    parser.add_argument(
        "--limit", type=float, default=300.0, metavar="S", help="time for the entries (default %(default)s)"
    )
    parser.add_argument("--runs", type=int, default=1, help="take the medians of so many (default %(default)s)")
    parser.add_argument("--no-transport", dest="transport", action="store_false", help="leave out what carries bytes")
    parser.add_argument("--figures", type=Path, metavar="DIR", help="write peers.md and its plots there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument(
        "--scratch", type=Path, default=Path(".cache/peers"), help="where packages go (default %(default)s)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
