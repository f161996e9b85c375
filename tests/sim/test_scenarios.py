"""Scenarios are data: each file loads, says what it means, and a mistake in one is named."""

from __future__ import annotations

import pytest

from cis.errors import UsageError
from cis.sim.run import parse_seeds
from cis.sim.scenarios import load_scenario, read_scenario, scenario_names


@pytest.mark.parametrize("name", scenario_names())
def test_every_scenario_loads_and_has_a_meaning(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.name == name
    assert len(scenario.meaning) > 20


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('kind = "chaos"\nname = "x"\nmeaning = "y"\nnods = 3', "nods"),
        ('kind = "chaos"\nname = "x"\nmeaning = "y"\n[link]\nloss = 1.5', "loss"),
        ('kind = "chaos"\nname = "x"\nmeaning = "y"\n[faults]\nflood = 2', "flood"),
        ('kind = "calm"\nname = "x"', "calm"),
        ("nodes = ", "end of document"),
    ],
)
def test_a_mistake_names_the_file_and_what_is_wrong(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=rf"x\.toml: .*{problem}"):
        read_scenario("x.toml", text)


def test_an_unknown_scenario_is_named_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"no scenario .calm.*chaos"):
        load_scenario("calm")


def test_seeds_are_one_or_a_range() -> None:
    assert list(parse_seeds("7")) == [7]
    assert list(parse_seeds("3..5")) == [3, 4, 5]
    for wrong in ("", "x", "1..", "5..3", "-1"):
        with pytest.raises(UsageError, match="seed"):
            parse_seeds(wrong)
