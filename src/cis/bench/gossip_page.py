"""The page `cis bench gossip` writes: both tables, the plots, what was assumed and how to make it again."""

from __future__ import annotations

from collections.abc import Sequence

from cis.bench.gossip import LARGE, GossipBench
from cis.sim.scenarios import load_scenario
from cis.sim.swarm import SwarmScenario

_PAGE = """# Gossip in figures

How well live messages spread: HyParView keeps the overlay (five neighbours, thirty acquaintances), Plumtree a tree for
each author over it. The code that runs in a node, simulated in virtual time; seed {seed}. To make this page again:

    cis bench gossip{large} --nodes {nodes} --seed {seed} --figures docs/figures

**Reliability** is the share of living nodes a broadcast reached. **LDH**, last-delivery hop, is the longest way by
which one reached a node first. **RMR**, relative message redundancy, is m/(n-1) - 1 for m bodies sent to n nodes: 0
when each gets one. **Control** counts messages without a body, **bytes** all that a node sends for one broadcast of
{body} bytes without what QUIC adds; both are per node and broadcast, at four broadcasts a second.

## Size of the cluster

{sizes}

![Gossip against the size of the cluster](gossip-size.png)

## Deaths

Of {nodes_text} nodes a share dies at once, without a word; the surviving authors broadcast on, {rate:g} times a second.
**Healed** is when the first broadcast was made from which on every one reached every survivor within {prompt:g} s. What
was broadcast before that arrived later, in the share of *reached before*: a new neighbour is offered what came lately.

{failures}

![A share of the nodes dies at once](gossip-failures.png)

## Assumed

Links have {latency:g} ms of latency and up to {jitter:g} ms of jitter on top; {loss:g} % of messages are lost and sent
again after 200 ms. A dead neighbour is noticed after {detect_min:g} to {detect_max:g} s, drawn for each link, as by
probes of QUIC under traffic; a dial to a dead node fails after {dial:g} s. Nodes join one after the other, each through
one random member, and their views settle for {settle:g} s. {sources} authors broadcast in turn; their trees are built
by {warm} broadcasts before the {measured} that are measured.
"""


def page_of(bench: GossipBench) -> str:
    """Return the page in Markdown."""
    scenario = load_scenario("gossip")
    assert isinstance(scenario, SwarmScenario)
    link, assumed = scenario.link, scenario.assumed
    return _PAGE.format(
        seed=bench.seed,
        nodes=bench.nodes,
        nodes_text=f"{bench.nodes:,}",
        large=" --large" if any(row.nodes == LARGE for row in bench.sizes) else "",
        body=scenario.body_bytes,
        sizes=_sizes(bench),
        failures=_failures(bench),
        rate=1 / scenario.healing_every_s,
        prompt=bench.prompt_s,
        latency=1000 * link.latency_s,
        jitter=1000 * link.jitter_s,
        loss=100 * link.loss,
        detect_min=assumed.detection_min_s,
        detect_max=assumed.detection_max_s,
        dial=assumed.dial_timeout_s,
        settle=scenario.settle_s,
        sources=scenario.sources,
        warm=scenario.warm_several,
        measured=scenario.measured,
    )


def _sizes(bench: GossipBench) -> str:
    head = ("nodes", "reliability", "LDH, most", "LDH, mean", "RMR", "to the last node", "control", "bytes")
    rows = [
        (
            f"{row.nodes:,}",
            _percent(row.reliability),
            str(row.ldh),
            f"{row.ldh_mean:.1f}",
            f"{row.rmr:.4f}",
            f"{row.latency_s:.2f} s",
            f"{row.control:.2f}",
            f"{row.bytes_per_node:,.0f}",
        )
        for row in bench.sizes
    ]
    return _table(head, rows)


def _failures(bench: GossipBench) -> str:
    head = ("died", "survivors", "healed after", "reached before", "reliability after", "LDH, mean", "RMR", "control")
    rows = [
        (
            f"{row.killed_share:.0%}",
            f"{row.survivors:,}",
            "not" if row.heal_s is None else f"{row.heal_s:.2f} s",
            _percent(row.reliability_healing),
            "" if row.heal_s is None else _percent(row.reliability),
            f"{row.ldh_mean:.1f}",
            f"{row.rmr:.3f}",
            f"{row.control:.2f}",
        )
        for row in bench.failures
    ]
    return _table(head, rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---:"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _percent(share: float) -> str:
    # Rounded down: 100 % means all.
    return f"{int(share * 1e5) / 1e3:g} %"
