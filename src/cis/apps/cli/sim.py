"""``cis sim``: whole clusters in virtual time, under every fault there is; a seed is a run."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cis.apps.cli.printing import complain, say, show_json, show_table
from cis.apps.cli.progress import progress
from cis.apps.cli.shared import Json
from cis.errors import UsageError


def sim(
    scenario: Annotated[str, typer.Option("--scenario", help="Which one; --list shows them.")] = "chaos",
    nodes: Annotated[int | None, typer.Option("--nodes", min=2, help="How many nodes.", show_default=False)] = None,
    seed: Annotated[str, typer.Option("--seed", metavar="S|A..B", help="One seed, or all from A to B.")] = "1",
    plant: Annotated[
        str | None,
        typer.Option("--plant", metavar="NAME|all", help="Plant a fault, and look for it.", show_default=False),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, help="Seeds run at once, else one per core.", show_default=False)
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List the scenarios and the plants.")] = False,
    json: Json = False,
) -> None:
    """Simulate a cluster under faults, heal it, and judge it; the same seed is the same run.

    Example: cis sim --scenario chaos --nodes 30 --seed 1..20
    """
    if list_all:
        _list(json=json)
    elif plant is not None:
        if (scenario, nodes, seed, jobs) != ("chaos", None, "1", None):
            raise UsageError("--plant looks with a scenario and seeds of its own: leave out the other options")
        _plant(plant, json=json)
    else:
        _simulate(scenario, nodes, seed, jobs, json=json)


def _simulate(scenario: str, nodes: int | None, seed: str, jobs: int | None, *, json: bool) -> None:
    from cis.sim.run import Request, default_jobs, parse_seeds, simulate

    request = Request(scenario, parse_seeds(seed), nodes, jobs or default_jobs())
    with progress("seeds") as tell:
        figures, passed = simulate(request, tell)
    if json:
        show_json(figures)
    else:
        failures = figures.pop("failures", ())
        show_table(("figure", "value"), [row for name, value in figures.items() for row in _rows(name, value)])
        for failure in failures:
            complain(f"seed {failure['seed']} at {failure['commit']}: {failure['wrongs'][0]}")
            say(f"see it again: {failure['replay']}")
        say("every seed passed" if passed else "some rule was broken")
    if not passed:
        raise typer.Exit(1)


def _plant(name: str, *, json: bool) -> None:
    from dataclasses import asdict

    from cis.sim.plants import PLANTS
    from cis.sim.run import find_plants

    with progress("plants") as tell:
        reports = find_plants(list(PLANTS) if name == "all" else [name], tell)
    if json:
        show_json({"plants": [asdict(one) for one in reports]})
    else:
        rows = [(one.plant, "yes" if one.found else "NO", str(one.seed or "-"), one.said) for one in reports]
        show_table(("plant", "found", "seed", "what the oracle said"), rows)
    if not all(one.found for one in reports):
        raise typer.Exit(1)


def _list(*, json: bool) -> None:
    from cis.sim.plants import PLANTS
    from cis.sim.run import list_scenarios

    scenarios = list_scenarios()
    if json:
        plants = [{"plant": name, "breaks": one.breaks} for name, one in PLANTS.items()]
        show_json({"scenarios": scenarios, "plants": plants})
        return
    show_table(("scenario", "nodes", "meaning"), [tuple(one.values()) for one in scenarios])
    say("")
    show_table(("plant", "what it breaks"), [(name, one.breaks) for name, one in PLANTS.items()])


def _rows(name: str, value: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - numbers, words and tables of them
    if isinstance(value, dict):
        return [row for inner, one in value.items() for row in _rows(f"{name}.{inner}", one)]
    if isinstance(value, list | tuple) and all(isinstance(one, dict) for one in value):
        return [row for one in value for row in _rows(f"{name}[seed {one.get('seed', '?')}]", one)]
    if isinstance(value, bool):
        return [(name, "yes" if value else "no")]
    return [(name, f"{value:,}" if isinstance(value, int | float) else str(value))]
