"""How much is logged, by area: what is said of one holds for its rooms, and no room that logs has no area."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from cis.api.configuration.log_levels import AREAS, levels_of
from cis.errors import UsageError

ROOMS = Path(__file__).resolve().parents[3] / "src" / "cis"


def test_one_word_is_for_all_and_an_area_for_its_rooms_alone() -> None:
    assert levels_of("Warning") == {"cis": logging.WARNING}
    assert levels_of("store=debug") == {"cis": logging.INFO, "cis.store": logging.DEBUG}
    everything = levels_of("error, p2p=debug, net=warning")
    assert (everything["cis"], everything["cis.node"], everything["cis.net"]) == (40, 10, 30)
    assert levels_of("") == {"cis": logging.INFO}


@pytest.mark.parametrize("text", ["loud", "p2p", "p2p=", "=debug", "p3p=debug", "debug=p2p", "p2p=debug=info"])
def test_what_is_no_level_or_no_area_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(UsageError, match=r"there are .*(debug|p2p)"):
        levels_of(text)


def test_every_room_that_logs_belongs_to_an_area() -> None:
    rooms = {
        file.relative_to(ROOMS).parts[0] for file in ROOMS.rglob("*.py") if "getLogger(__name__)" in file.read_text()
    }
    named = {logger for loggers in AREAS.values() for logger in loggers}
    assert {f"cis.{room}" for room in rooms} <= named
