"""Scenarios are data: a TOML file each under `scenarios/`, found by name; what it may say is stated here."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Annotated, Literal

import msgspec

from cis.errors import UsageError
from cis.sim.swarm import SwarmScenario

Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=86_400.0)]
FaultName = Literal[
    "partition",
    "crash",
    "leave",
    "restore",
    "clock",
    "cut",
    "rest",
    "evil",
    "revoke",
    "feud",
    "demote",
    "rotate",
    "keep",
    "read",
]


class LinkTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What links do; loss, duplication and reordering are the most a run draws."""

    latency_s: Seconds = 0.02
    jitter_s: Seconds = 0.01
    loss: Share = 0.0
    duplication: Share = 0.0
    reordering: Share = 0.0
    bandwidth_bytes_per_s: Annotated[float, msgspec.Meta(gt=0)] = 12_500_000.0


class Chaos(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="chaos"):
    """Full nodes under faults, then healed.

    ``writes``, ``broadcasts``, ``keys`` and ``faults`` say how many there are in a run of ``nodes``; a run of n times
    as many nodes has n times the faults and √n times the rest, and each run draws a mix of its own around them.
    """

    name: str
    meaning: str
    nodes: Annotated[int, msgspec.Meta(ge=2, le=200)] = 6
    duration_s: Seconds = 20.0
    heal_within_s: Seconds = 180.0
    sync_interval_s: Seconds = 5.0
    collect_s: Seconds = 0.0
    """between two reports of what is held, and two collections of what all members have had; 0 for none"""
    collects: bool = True
    topology: Literal["mesh", "random", "line"] = "random"
    degree: Annotated[int, msgspec.Meta(ge=1, le=200)] = 4
    """neighbours each node knows of, in a random topology"""
    keys: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 3
    """memories of each type"""
    writes: Count = 60
    broadcasts: Count = 20
    large: Share = 0.02
    """of the writes, those of more than 64 KiB"""
    vectors: Share = 0.0
    """of the writes, those whose text is embedded behind them, by a model of no meaning"""
    byzantine: bool = False
    link: LinkTerms = LinkTerms()
    faults: Mapping[FaultName, Count] = {}


Scenario = Chaos | SwarmScenario


def scenario_names() -> list[str]:
    """Return the names of all scenarios."""
    return sorted(one.name.removesuffix(".toml") for one in _folder().iterdir() if one.name.endswith(".toml"))


def load_scenario(name: str) -> Scenario:
    """Return a scenario by name; `UsageError` naming the file, and what is wrong in it."""
    if name not in scenario_names():
        raise UsageError(f"there is no scenario {name!r}: there are {', '.join(scenario_names())}")
    return read_scenario(f"{name}.toml", _folder().joinpath(f"{name}.toml").read_text(encoding="utf-8"))


def read_scenario(file: str, text: str) -> Scenario:
    """Return the scenario that a file's text states."""
    try:
        scenario: Scenario = msgspec.convert(tomllib.loads(text), Scenario)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"{file}: {error}") from None
    return scenario


def _folder() -> Traversable:
    return files("cis.sim") / "scenarios"
