"""Peers expected on a path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cis.net.expected import Expectations
from cis.net.paths import Path


@dataclass(eq=False)
class _Carrier:
    relayed: bool = False


def _path(carrier: Any, port: int = 1, host: str = "192.0.2.1") -> Path:
    return Path(carrier, (host, port))


def test_a_path_is_found_however_its_address_is_written() -> None:
    held = Expectations(4)
    carrier: Any = _Carrier()
    held.add(_path(carrier))
    assert held.find(Path(carrier, ("::ffff:192.0.2.1", 1, 0, 0))) is not None


def test_another_port_host_or_carrier_is_not_expected() -> None:
    held, carrier = Expectations(4), _Carrier()
    held.add(_path(carrier))
    for other in (_path(carrier, 2), _path(carrier, 1, "192.0.2.2"), _path(_Carrier())):
        assert held.find(other) is None


def test_of_two_for_one_path_each_is_withdrawn_by_itself() -> None:
    held, carrier = Expectations(4), _Carrier()
    first, second = held.add(_path(carrier)), held.add(_path(carrier))
    second()
    second()
    assert held.find(_path(carrier)) is not None
    first()
    assert held.find(_path(carrier)) is None
    assert len(held) == 0


def test_beyond_the_most_the_oldest_is_forgotten() -> None:
    held, carrier = Expectations(2), _Carrier()
    withdraw = held.add(_path(carrier, 1))
    for port in (2, 3):
        held.add(_path(carrier, port))
    assert [held.find(_path(carrier, port)) is not None for port in (1, 2, 3)] == [False, True, True]
    withdraw()
    assert len(held) == 2
