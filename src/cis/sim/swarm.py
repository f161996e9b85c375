"""Gossip alone, at a thousand nodes: how well the overlay and the tree serve, and how soon they heal.

Measured in the papers' terms. Reliability: the share of living nodes that a broadcast reached. LDH, last-delivery hop:
the hops of the longest way by which a broadcast reached a node first. RMR, relative message redundancy: m/(n-1) - 1
for m bodies sent to reach n nodes, 0 where everybody gets one and no more. `heal_s`: the time from the deaths to the
first broadcast from which on each one reached all survivors promptly.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from cis.gossip import GossipConfig
from cis.sim.kernel import Kernel
from cis.sim.network import LinkProfile, Network
from cis.sim.swarm_quality import Broadcast, Quality, Series
from cis.sim.swarm_world import Member, SwarmWorld


class SwarmLink(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What links do; see `LinkProfile`."""

    latency_s: float
    jitter_s: float
    loss: float


class Assumed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the world assumes of the layers below."""

    dial_timeout_s: float
    detection_min_s: float
    detection_max_s: float


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run must keep to pass."""

    missed: int
    ldh: int
    rmr: float
    heal_s: float


class SwarmScenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="swarm"):
    """A run of gossip alone, as `scenarios/gossip.toml` describes it."""

    name: str
    meaning: str
    nodes: int
    join_every_s: float
    contacts: int
    settle_s: float
    sources: int
    warm_single: int
    warm_several: int
    warm_every_s: float
    measured: int
    measured_every_s: float
    killed_share: float
    healing_every_s: float
    healing_s: float
    drain_s: float
    prompt_s: float
    body_bytes: int
    record_bytes: int
    link: SwarmLink
    assumed: Assumed
    limits: Limits


@dataclass(frozen=True)
class SwarmResult:
    """What a run showed."""

    scenario: str
    nodes: int
    seed: int
    passed: bool
    missed: int
    """deliveries that never came of the measured broadcasts, before the deaths and after healing"""
    reliability: float
    ldh: int
    ldh_mean: float
    rmr: float
    heal_s: float | None
    """None where some broadcast was held up to the end"""
    killed: int
    survivors: int
    before: Quality
    healing: Quality
    """broadcasts between the deaths and ``heal_s``"""
    after: Quality
    prompt: tuple[float, ...]
    """for each second from the deaths on, the share of survivors that its broadcasts reached promptly"""
    active_mean: float
    passive_mean: float
    twice: int
    """deliveries of a message to a node that had it"""
    events: int
    virtual_s: float
    trace: str


class _Run:
    """One run, phase after phase."""

    def __init__(self, scenario: SwarmScenario, nodes: int, seed: int, config: GossipConfig) -> None:
        link, assumed = scenario.link, scenario.assumed
        self.kernel = Kernel(seed)
        profile = LinkProfile(latency_s=link.latency_s, jitter_s=link.jitter_s, loss=link.loss)
        self.world = SwarmWorld(
            Network(self.kernel, profile),
            dial_timeout_s=assumed.dial_timeout_s,
            detection_s=(assumed.detection_min_s, assumed.detection_max_s),
            record=bytes(scenario.record_bytes),
            on_deliver=self._on_deliver,
        )
        self.seed = seed
        self.twice = 0
        self._sources: list[Member] = []
        self.scenario = scenario
        self._nodes = nodes
        self._config = config
        self._by_body: dict[bytes, Broadcast] = {}

    def build(self) -> None:
        """Let the nodes join, the views settle and the tree form."""
        scenario, kernel = self.scenario, self.kernel
        for number in range(self._nodes):
            kernel.at(number * scenario.join_every_s, self._join)
        kernel.run_until(self._nodes * scenario.join_every_s + scenario.settle_s)
        self._sources = [self.world.members[0]]
        self.series(scenario.warm_single, scenario.warm_every_s)
        self._sources = kernel.rng.sample(self.world.members, min(scenario.sources, self._nodes))
        self.series(scenario.warm_several, scenario.warm_every_s)
        self.drain()

    def measure(self) -> Series:
        """Broadcast from the sources in turn."""
        series = self.series(self.scenario.measured, self.scenario.measured_every_s)
        self.drain()
        return series

    def kill(self) -> float:
        """Kill a share of the nodes at once and return when."""
        living = self.world.living()
        for member in self.kernel.rng.sample(living, round(len(living) * self.scenario.killed_share)):
            self.world.kill(member)
        self._sources = [source for source in self._sources if source.alive] or self.world.living()[:1]
        return self.kernel.now

    def heal(self) -> Series:
        """Broadcast from the surviving sources in turn, from the deaths on."""
        scenario = self.scenario
        count = round(scenario.healing_s / scenario.healing_every_s)
        series = self.series(count, scenario.healing_every_s)
        self.drain()
        return series

    def series(self, count: int, every_s: float) -> Series:
        """Broadcast so often, from the sources in turn."""
        series = Series(self.world)
        began = self.kernel.now
        for number in range(count):
            self.kernel.run_until(began + number * every_s)
            series.broadcasts.append(self._broadcast(self._sources[number % len(self._sources)]))
        self.kernel.run_until(began + count * every_s)
        series.close()
        return series

    def drain(self) -> None:
        """Let what is under way arrive."""
        self.kernel.run_until(self.kernel.now + self.scenario.drain_s)

    def _join(self) -> None:
        others = self.world.members.copy()
        member = self.world.add(self._config)
        for contact in self.kernel.rng.sample(others, min(len(others), self.scenario.contacts)):
            self.world.introduce(member, contact)

    def _broadcast(self, source: Member) -> Broadcast:
        number = len(self._by_body)
        body = number.to_bytes(8, "big") + bytes(max(0, self.scenario.body_bytes - 8))
        made = self._by_body[body] = Broadcast(self.kernel.now, body, len(self.world.living()), source.number)
        self.world.broadcast(source, body)
        return made

    def _on_deliver(self, member: Member, body: bytes, hops: int) -> None:
        made = self._by_body[body]
        if member.number in made.reached:
            self.twice += 1
            return
        made.reached.add(member.number)
        made.last_at = self.kernel.now
        made.prompt += self.kernel.now <= made.at + self.scenario.prompt_s
        made.hops = max(made.hops, hops)
        self.kernel.note(member.number, body[:8].hex(), hops)


def run_swarm(
    scenario: SwarmScenario, nodes: int | None = None, seed: int = 0, config: GossipConfig | None = None
) -> SwarmResult:
    """Run a scenario with so many nodes (its own number by default); a seed is a run."""
    run = _Run(scenario, nodes or scenario.nodes, seed, config or GossipConfig())
    run.build()
    views = _view_means(run.world.living())
    measured = run.measure()
    before = measured.quality(measured.broadcasts, len(run.world.living()))
    died_at = run.kill()
    series = run.heal()
    survivors = len(run.world.living())
    first = _first_of_the_whole(series.broadcasts, scenario.prompt_s)
    return _judged(
        run,
        before=before,
        prompt=series.prompt_by_second(died_at),
        healing=series.quality(series.broadcasts[:first], survivors),
        after=series.quality(series.broadcasts[first:], survivors),
        heal_s=series.broadcasts[first].at - died_at if first < len(series.broadcasts) else None,
        views=views,
    )


def _first_of_the_whole(broadcasts: Sequence[Broadcast], prompt_s: float) -> int:
    """Return the place from which on every broadcast reached all promptly."""
    held_up = [place for place, one in enumerate(broadcasts) if not one.is_whole_by(one.at + prompt_s)]
    return held_up[-1] + 1 if held_up else 0


def _judged(
    run: _Run,
    *,
    before: Quality,
    healing: Quality,
    after: Quality,
    heal_s: float | None,
    prompt: tuple[float, ...],
    views: tuple[float, float],
) -> SwarmResult:
    scenario, limits = run.scenario, run.scenario.limits
    nodes, survivors = len(run.world.members), len(run.world.living())
    missed = before.missed + after.missed
    in_limits = missed <= limits.missed and before.ldh <= limits.ldh and before.rmr < limits.rmr
    return SwarmResult(
        scenario=scenario.name,
        nodes=nodes,
        seed=run.seed,
        passed=in_limits and heal_s is not None and heal_s <= limits.heal_s and run.twice == 0,
        missed=missed,
        reliability=before.reliability,
        ldh=before.ldh,
        ldh_mean=before.ldh_mean,
        rmr=before.rmr,
        heal_s=heal_s,
        killed=nodes - survivors,
        survivors=survivors,
        before=before,
        healing=healing,
        after=after,
        prompt=prompt,
        active_mean=views[0],
        passive_mean=views[1],
        twice=run.twice,
        events=run.kernel.happened,
        virtual_s=run.kernel.now,
        trace=run.kernel.trace,
    )


def _view_means(members: Sequence[Member]) -> tuple[float, float]:
    gossips = [member.gossip for member in members]
    active = statistics.fmean(len(gossip.active) for gossip in gossips)
    return active, statistics.fmean(len(gossip.passive) for gossip in gossips)
