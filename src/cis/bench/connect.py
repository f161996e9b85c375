"""``cis bench connect``: an authenticated connection to a running node, against qh3's handshake alone."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from cis.bench.bare_pair import Yardstick
from cis.bench.figures import percentile, ratio, say
from cis.bench.pair import Child

WARM_UP = 10


@dataclass(frozen=True, slots=True)
class ConnectResult:
    """Milliseconds, the two kinds taken in turn."""

    connections: int
    p50_ms: float
    p99_ms: float
    bare_p50_ms: float
    ratio_bare_quic: float


def bench_connect(connections: int = 150) -> ConnectResult:
    """Measure that many of each."""
    ours: list[float] = []
    bare: list[float] = []
    with (
        tempfile.TemporaryDirectory(prefix="cis-bench-") as folder,
        Child("node") as node,
        Child("dialler") as dialler,
        Yardstick("bare") as yardstick,
    ):
        node.ask("create", home=str(Path(folder) / "node"), name="node")
        at = node.ask("start")
        ticket = node.ask("invite")["ticket"]
        dialler.ask("join", home=str(Path(folder) / "dialler"), ticket=ticket, name="dialler")
        where = {name: at[name] for name in ("node", "host", "port")}
        say(f"{connections} connections of each kind, in turn")
        for _ in range(WARM_UP + connections):
            ours.append(dialler.ask("handshake", **where)["elapsed_s"] * 1e3)
            bare.append(yardstick.handshake() * 1e3)
    ours, bare = ours[WARM_UP:], bare[WARM_UP:]
    return ConnectResult(
        connections=connections,
        p50_ms=percentile(ours, 50),
        p99_ms=percentile(ours, 99),
        bare_p50_ms=percentile(bare, 50),
        ratio_bare_quic=ratio(percentile(ours, 50), percentile(bare, 50)),
    )
