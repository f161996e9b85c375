"""Tell of every pair of networks, with `cis` on both sides, whether it connects, which way, and how fast.

::

    python -m tools.nat_matrix                              # all pairs, once
    python -m tools.nat_matrix --runs 3 --json              # what `make nat-matrix ARGS='--runs 3 --json'` runs
    python -m tools.nat_matrix --pair coneA symB --keep     # one pair, left standing to look at
    python -m tools.nat_matrix --list                       # the kinds of networks, and the pairs

Needs root, nftables, coturn and miniupnpd. Exit code 1 where a pair fails, goes through a relay needlessly or is
slower than it may be.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.net.nat import namespaces
from tests.net.nat.internet import KINDS, Internet
from tests.net.nat.namespaces import BedError
from tests.net.nat.nodes import Trio, cis_command, stop
from tests.net.nat.pairs import ALL, Trial, Verdict, Way
from tests.net.nat.servers import Coturn, ice_settings
from tests.net.nat.signalling import ByAnchor, ByMember

DIRECT_P50_S = 1.0
RELAYED_P50_S = 2.5
SIGNALLING_SLOW_S = 5.0
_HEAD = ("pair", "expected", "path", "connect", "sync", "verdict")


def main(words: Sequence[str]) -> int:
    """Run what was asked for."""
    options = _options().parse_args(words)
    pairs = tuple(map(tuple, options.pair)) if options.pair else _chosen(options.only)
    if options.list:
        print(f"kinds: {', '.join(KINDS)}\npairs:", *(" ".join(pair) for pair in pairs), sep="\n")
        return 0
    if reason := namespaces.unfit():
        print(reason, file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the namespaces go
    with _trial(options.signalling) as trial:
        if options.keep:
            return _stand(trial, *pairs[0])
        if not options.json:
            print(_line(_HEAD), flush=True)
        say = _silent if options.json else _say
        verdicts = [_judged(trial, pair, say) for _ in range(options.runs) for pair in pairs]
    return _conclude(verdicts, as_json=options.json)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nat_matrix", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pair", nargs=2, action="append", metavar=("A", "B"), help="these hosts; may be repeated")
    parser.add_argument("--only", default="", metavar="WORD", help="pairs with this word in their names")
    parser.add_argument("--runs", type=int, default=1, help="how often the whole is run")
    parser.add_argument("--signalling", choices=("anchor", "member"), default="anchor", help="how offers travel")
    parser.add_argument("--keep", action="store_true", help="start the pair, say how to look at it, wait for Enter")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    parser.add_argument("--list", action="store_true", help="list the kinds of networks and the pairs")
    return parser


def _chosen(word: str) -> tuple[tuple[str, ...], ...]:
    return tuple(pair for pair in ALL if word in " ".join(pair))


@contextlib.contextmanager
def _trial(signalling: str) -> Iterator[Trial]:
    with tempfile.TemporaryDirectory(prefix="cis-nat-") as folder, Internet() as internet:
        internet.stack.enter_context(Coturn(internet))
        trio = Trio.make(internet, Path(folder), hub=signalling == "member")
        internet.stack.callback(stop, trio.nodes)
        means = ByMember(internet, trio) if signalling == "member" else ByAnchor(internet, Path(folder))
        yield Trial(internet, trio, ice_settings(), means)


def _judged(trial: Trial, pair: Sequence[str], say: Callable[[Verdict], None]) -> Verdict:
    verdict = trial.run(*pair)
    say(verdict)
    return verdict


def _silent(_: Verdict) -> None:
    """JSON comes at the end."""


def _say(verdict: Verdict) -> None:
    word = "ok" if verdict.ok else "NEEDLESS RELAY" if verdict.needless else "FAILED"
    row = (
        f"{verdict.first} {verdict.second}",
        verdict.expected.value,
        verdict.way.value,
        "-" if verdict.connect_s is None else f"{verdict.connect_s:.2f} s",
        "-" if verdict.rate is None else f"{verdict.rate:.1f} MB/s",
        word,
    )
    print(_line(row), flush=True)
    if verdict.signalled_s > SIGNALLING_SLOW_S:
        print(f"  both could exchange offers only {verdict.signalled_s:.1f} s after they were up", flush=True)
    if verdict.error:
        print(f"  {verdict.error}", flush=True)


def _line(row: Sequence[str]) -> str:
    return f"{row[0]:<26}{row[1]:<10}{row[2]:<10}{row[3]:>9}{row[4]:>12}  {row[5]}"


def _conclude(verdicts: Sequence[Verdict], *, as_json: bool) -> int:
    connected = [one for one in verdicts if one.connected]
    p50 = {way: _p50(one.connect_s for one in connected if one.way is way) for way in (Way.DIRECT, Way.RELAYED)}
    bounds = {Way.DIRECT: DIRECT_P50_S, Way.RELAYED: RELAYED_P50_S}
    slow = [f"{way.value} over {bound:g} s" for way, bound in bounds.items() if p50[way] > bound]
    summary: dict[str, Any] = {
        "pairs": len(verdicts),
        "connected": len(connected),
        "needless_relays": sum(one.needless for one in verdicts),
        "p50_s": round(_p50(one.connect_s for one in connected), 3),
        "p50_direct_s": round(p50[Way.DIRECT], 3),
        "p50_relayed_s": round(p50[Way.RELAYED], 3),
        "failed": [f"{one.first} {one.second}" for one in verdicts if not one.ok],
        "slow": slow,
    }
    if as_json:
        print(json.dumps({**summary, "verdicts": [_row(one) for one in verdicts]}, indent=1))
    else:
        print(f"p50 to a direct connection {p50[Way.DIRECT]:.2f} s, to a relayed one {p50[Way.RELAYED]:.2f} s")
        for line in (*(f"TOO SLOW: p50 {what}" for what in slow), *(f"FAILED: {pair}" for pair in summary["failed"])):
            print(line)
        print(
            f"pairs {summary['pairs']}, connected {summary['connected']}, "
            f"needless relays {summary['needless_relays']}, p50 {summary['p50_s']:.2f} s"
        )
    return 1 if summary["failed"] or slow else 0


def _p50(times: Iterator[float | None]) -> float:
    known = [one for one in times if one is not None]
    return statistics.median(known) if known else 0.0


def _row(verdict: Verdict) -> dict[str, Any]:
    flows = [[*flow, count] for flow, count in sorted(verdict.flows.items())]
    return {
        "pair": [verdict.first, verdict.second],
        "expected": verdict.expected.value,
        "path": verdict.way.value,
        "connect_s": verdict.connect_s,
        "signalled_s": verdict.signalled_s,
        "sync_mb_s": verdict.rate,
        "ok": verdict.ok,
        "error": verdict.error,
        "flows": flows,
    }


def _stand(trial: Trial, first: str, second: str) -> int:
    one, other = trial.internet.host_named(first), trial.internet.host_named(second)
    try:
        trial.start(one, other)
    except BedError as error:
        print(error, file=sys.stderr)
    for node in (trial.trio.alpha, trial.trio.beta):
        if node.host is not None:
            command = " ".join(node.host.namespace.command([*cis_command(), "--home", str(node.home)]))
            print(f"{node.name} on {node.host.name}, its log in {node.log}:")
            print(f"  {command} p2p connections --verbose")
            print(f"  ip netns exec {node.host.edge.namespace.name} nft list table ip traffic")
    print("alpha is parted from beta until alpha's `p2p connect beta`.")
    print("Press Enter to end.")
    sys.stdin.readline()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
