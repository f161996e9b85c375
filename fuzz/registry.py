"""All targets, by name: ``GROUP.NAME``, where a group is a module of `fuzz.targets`."""

from __future__ import annotations

import importlib

from fuzz.target import Target

GROUPS = (
    "wire",
    "net",
    "trust",
    "machines",
    "store",
    "node",
    "discovery",
    "reach",
    "anchor",
    "exchange",
    "control",
    "schema",
)


def group(name: str) -> tuple[Target, ...]:
    """Return the targets of a group."""
    targets: tuple[Target, ...] = importlib.import_module(f"fuzz.targets.{name}").TARGETS
    return targets


def targets() -> tuple[Target, ...]:
    """Return all of them."""
    return tuple(target for name in GROUPS for target in group(name))


def find(name: str) -> Target:
    """Return the target of that name, loading its group alone; KeyError where there is none."""
    place = name.partition(".")[0]
    if place not in GROUPS:
        raise KeyError(name)
    return {target.name: target for target in group(place)}[name]
