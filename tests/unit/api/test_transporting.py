"""Transports by the settings: through anchors unless turned off, and those of packages that have the entry point."""

from __future__ import annotations

from pathlib import Path

import pytest

from cis.anchor.client import AnchorClient
from cis.anchor.place import AnchorPlace
from cis.api.configuration.settings import load
from cis.api.peers.transporting import transports_of
from cis.reach.tunnel import AnchorTunnel

ANCHOR = AnchorClient(AnchorPlace("https://anchor.example.net"))
MODULE = """
class Serial:
    name = "whatever"
    def __init__(self, settings, context):
        self.port, self.folder = settings["port"], context.folder
    def places(self):
        return [self.port]

def make(settings, context):
    return Serial(settings, context)

def broken(settings, context):
    raise SystemExit("no such port")
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with two transports, as an installer leaves it."""
    folder = tmp_path / "packages"
    info = folder / "cis_transport_serial-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "cis_transport_serial.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cis-transport-serial\nVersion: 1.0\n")
    points = [f"{name} = cis_transport_serial:{function}" for name, function in (("serial", "make"), ("bad", "broken"))]
    (info / "entry_points.txt").write_text("\n".join(["[cis.transports]", *points, ""]))
    monkeypatch.syspath_prepend(str(folder))


def home(tmp_path: Path, text: str) -> Path:
    (tmp_path / "config.toml").write_text(text)
    return tmp_path


def test_anchors_tunnel_unless_that_is_turned_off_and_only_where_there_are_any(tmp_path: Path) -> None:
    settings = load(home(tmp_path, ""))
    (found,) = transports_of(settings, [ANCHOR], tmp_path)
    assert isinstance(found, AnchorTunnel)
    assert transports_of(settings, [], tmp_path) == []
    off = load(home(tmp_path, "[p2p.transports]\nwebsocket = false\n"))
    assert transports_of(off, [ANCHOR], tmp_path) == []


@pytest.mark.usefixtures("packages")
def test_a_package_brings_a_transport_which_comes_before_the_last_resort(tmp_path: Path) -> None:
    settings = load(home(tmp_path, '[p2p.transports.plugins.serial]\nport = "/dev/ttyS0"\n'))
    serial, tunnel = transports_of(settings, [ANCHOR], tmp_path)
    assert (serial.name, serial.places(), serial.failures()) == ("serial", ["/dev/ttyS0"], {})
    assert isinstance(tunnel, AnchorTunnel)
    assert (tmp_path / "plugins" / "serial").is_dir()


@pytest.mark.usefixtures("packages")
def test_one_that_fails_or_is_not_there_is_a_problem_and_no_end(tmp_path: Path) -> None:
    settings = load(home(tmp_path, "[p2p.transports.plugins.bad]\n[p2p.transports.plugins.absent]\n"))
    absent, bad = transports_of(settings, [], tmp_path)
    assert (list(absent.places()), list(bad.places())) == ([], [])
    assert bad.failures() == {"transport bad": "SystemExit: no such port"}
    assert "cis-transport-absent" in absent.failures()["transport absent"]
