"""``cis bench hostile``: what a flood by one member, or from one address, does to the live updates of the others."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cis.bench.figures import BenchFailed, percentile, say
from cis.bench.pair import Child
from cis.node.home.folder import Home

_MARGIN_S = 120.0
_SETTLE_S = 60.0


@dataclass(frozen=True, slots=True)
class FloodResult:
    """Milliseconds from a commit to its recall by the node that is flooded, before, during and after."""

    p50_ms: dict[str, float]
    p99_ms: dict[str, float]
    ratio_p50: float
    ratio_p99: float
    """during to before; the target is 2 or less"""
    sent: int
    """by the flooder"""
    turned_away: dict[str, int]


@dataclass(frozen=True, slots=True)
class HostileResult:
    """Both floods."""

    updates: int
    pause_ms: float
    member: FloodResult
    address: FloodResult


def bench_hostile(updates: int = 400, pause_s: float = 0.02, datagrams_per_s: int = 20_000) -> HostileResult:
    """Measure that many updates before, during and after each flood."""
    with tempfile.TemporaryDirectory(prefix="cis-bench-") as folder:
        homes = [Path(folder) / name for name in ("flooded", "honest", "flooder")]
        _found_cluster(*homes)
        flooded, honest, flooder = homes
        found = []
        for kind in ("member", "address"):
            with Child("node") as victim, Child("node") as other, Child("hostile") as foe:
                victim.ask("open", home=str(flooded))
                other.ask("open", home=str(honest))
                at = victim.ask("start")
                where = {name: at[name] for name in ("node", "host", "port")}
                other.ask("start")
                other.ask("connect", _SETTLE_S, **where)
                say(f"a flood by one {kind}: {updates:,} updates before, during and after it")
                meter = _Meter(victim, other, updates, pause_s)
                meter.measure("before")
                if kind == "member":
                    foe.ask("member", home=str(flooder), **where)
                else:
                    del where["node"]
                    foe.ask("strangers", **where, datagrams_per_s=datagrams_per_s, connections=8)
                meter.measure("during")
                sent = foe.ask("stop", _SETTLE_S)["sent"]
                meter.measure("after")
                found.append(meter.result(sent, victim.ask("turned_away")["counts"]))
    return HostileResult(updates, pause_s * 1e3, *found)


class _Meter:
    """Updates of one node as another shows them."""

    def __init__(self, victim: Child, honest: Child, updates: int, pause_s: float) -> None:
        self._victim, self._honest = victim, honest
        self._updates, self._pause_s = updates, pause_s
        self._p50: dict[str, float] = {}
        self._p99: dict[str, float] = {}

    def measure(self, phase: str) -> None:
        """Let the honest node write and the flooded one watch."""
        warm = self._updates // 10
        count = self._updates + warm
        limit_s = count * (self._pause_s + 0.1) + _MARGIN_S
        self._victim.send("witness", updates=count)
        committed = self._honest.ask("publish", limit_s, updates=count, pause_s=self._pause_s)
        seen = self._victim.answer(limit_s)
        pairs = zip(committed["committed_at_s"], seen["seen_at_s"], strict=True)
        latencies = [(shown - returned) * 1e3 for returned, shown in pairs][warm:]
        if len(latencies) != self._updates:
            raise BenchFailed(f"{len(latencies)} updates arrived of {self._updates}")
        self._p50[phase], self._p99[phase] = percentile(latencies, 50), percentile(latencies, 99)

    def result(self, sent: int, turned_away: dict[str, Any]) -> FloodResult:
        """Put it together."""
        p50, p99 = self._p50, self._p99
        return FloodResult(p50, p99, p50["during"] / p50["before"], p99["during"] / p99["before"], sent, turned_away)


def _found_cluster(flooded: Path, *others: Path) -> None:
    """Create the homes and make them one cluster; nothing runs afterwards."""
    with Child("node") as first:
        first.ask("create", home=str(flooded), name="flooded")
        first.ask("start")
        for folder in others:
            with Child("node") as joiner:
                joiner.ask("create", home=str(folder), name=folder.name)
                joiner.ask("join", ticket=first.ask("invite")["ticket"], name=folder.name)
    for folder in (flooded, *others):
        Home(folder).bootstrap.unlink(missing_ok=True)
