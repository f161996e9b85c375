"""Bad days, with real processes: each is a clear message and an exit code, shows no traceback, and loses nothing.

Small disks, read-only ones and machines without a network are made with mounts and namespaces, which takes root.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cis.api.control.client import connect_daemon
from cis.api.health.checkup import examine_health
from cis.api.health.doctor_schema import Row
from cis.api.health.why_schema import ExplainMemory
from cis.api.memories.memory_schema import GetMemory
from tests.e2e.conftest import CONDITION_S, ROOT, Home, Outcome, pair

BIG = b"0123456789abcdef" * 12_800
LINUX_ROOT = sys.platform == "linux" and os.getuid() == 0
needs_root = pytest.mark.skipif(not LINUX_ROOT, reason="mounting and namespaces take root on Linux")
Mount = Callable[..., Path]


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Mount]:
    """Mount something at a new folder; skipped where the system does not allow it."""
    made: list[Path] = []

    def mount(name: str, *words: str) -> Path:
        place = tmp_path / name
        place.mkdir()
        done = subprocess.run(["mount", *words, str(place)], capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"mounting is not allowed here: {done.stderr.decode().strip()}")
        made.append(place)
        return place

    yield mount
    for place in made:
        subprocess.run(["umount", "--lazy", str(place)], check=False)


def small_disk(mounted: Mount) -> Path:
    return mounted("disk", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs")


def fill(disk: Path) -> Path:
    """Leave no room on a disk; returns what takes it."""
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


def refused(ended: Outcome, code: int, *told: str) -> None:
    """Assert that a command ended as it should: with that code, one line that says why, and no traceback."""
    assert ended.code == code, ended
    assert "Traceback" not in ended.out + ended.err
    assert "a defect of cis" not in ended.err
    assert len(ended.err.strip().splitlines()) == 1, ended.err
    assert [one for one in told if one not in ended.err] == []


def checks(home: Home, *, deep: bool = False) -> dict[str, Row]:
    """What `cis doctor` finds, by the name of the check; asked here, which is quicker than by a command."""
    return {row.check: row for row in examine_health(home.path, reveal=True, deep=deep)}


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + CONDITION_S
    while not holds():
        assert time.monotonic() < deadline, "never came"


def holds(home: Home, key: str) -> bool:
    node = connect_daemon(home.path)
    assert node is not None, "the node is gone"
    return node.call(GetMemory(key=key)) is not None


# --- the disk -------------------------------------------------------------------------------------------------------


@needs_root
def test_on_a_full_disk_a_running_node_refuses_to_write_goes_on_reading_and_recovers(
    mounted: Mount, new_home: Callable[[str], Home]
) -> None:
    disk = small_disk(mounted)
    home = new_home("disk/home")
    home.cis("init", "--name", "solo")
    home.up()
    home.cis("memory", "set", "before", "kept")
    filler = fill(disk)
    refused(home.run("memory", "set", "big", given=BIG), 1, "full", "free some space")
    assert home.cis("memory", "get", "before") == "kept\n"
    assert "disk" in home.status().problems
    assert checks(home)["disk"].status == "bad"
    filler.unlink()
    home.cis("memory", "set", "big", given=BIG)
    home.cis("down")
    assert home.cis("memory", "get", "before") == "kept\n"
    assert "Traceback" not in (home.path / "node.log").read_text()


@needs_root
def test_on_a_full_disk_nothing_starts_and_nothing_is_lost(mounted: Mount, new_home: Callable[[str], Home]) -> None:
    disk = small_disk(mounted)
    home = new_home("disk/home")
    home.cis("init", "--name", "solo")
    home.cis("memory", "set", "before", "kept")
    filler = fill(disk)
    refused(home.run("memory", "set", "big", given=BIG), 1, "full")
    refused(home.run("up", "--detach", "--listen", "127.0.0.1:0"), 1, "full")
    assert "full" in checks(home)["node"].fix
    filler.unlink()
    assert home.cis("memory", "get", "before") == "kept\n"
    assert checks(home, deep=True)["store"].status == "ok"


@needs_root
def test_a_peer_whose_disk_is_full_stays_connected_and_catches_up_when_there_is_room(
    mounted: Mount, new_home: Callable[[str], Home]
) -> None:
    disk = small_disk(mounted)
    one, two = new_home("one"), new_home("disk/two")
    pair(one, two)
    filler = fill(disk)
    for number in range(3):
        one.cis("memory", "set", f"big/{number}", given=BIG)
    until(lambda: "disk" in two.status().problems)
    filler.unlink()
    one.run("p2p", "sync")
    until(lambda: all(holds(two, f"big/{number}") for number in range(3)))
    assert "Traceback" not in "".join((home.path / "node.log").read_text() for home in (one, two))


@needs_root
def test_a_read_only_home_is_told_as_such_by_every_command(
    mounted: Mount, new_home: Callable[[str], Home], home: Home
) -> None:
    place = mounted("fixed", "--bind", str(home.path))
    subprocess.run(["mount", "-o", "remount,ro,bind", str(place)], check=True)
    fixed = new_home("fixed")
    for words in (
        ("memory", "get", "a"),
        ("memory", "set", "a", "1"),
        ("up", "--detach", "--listen", "127.0.0.1:0"),
        ("config", "set", "p2p.sync.interval", "20"),
    ):
        refused(fixed.run(*words), 1, "ead-only file system", "mount it writable")
    assert "read-only" in checks(fixed)["node"].fix


# --- the store and the port -----------------------------------------------------------------------------------------


def test_a_store_that_another_process_has_open_is_told_and_waits_unharmed(home: Home) -> None:
    home.cis("memory", "set", "before", "kept")
    with (home.path / "lock").open("r+b") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        refused(home.run("memory", "get", "before"), 1, "in use by another cis process")
        refused(home.run("up", "--detach", "--listen", "127.0.0.1:0"), 1, "in use by another cis process")
        row = checks(home)["store lock"]
        assert (row.status, f"process {os.getpid()} " in row.found) == ("bad", sys.platform == "linux")
    assert home.cis("memory", "get", "before") == "kept\n"


def test_a_port_that_is_taken_is_named_and_nothing_is_left_running(home: Home) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        number = taken.getsockname()[1]
        place = f"127.0.0.1:{number}"
        for words in (("up", "--detach"), ("up",)):
            refused(home.run(*words, "--listen", place), 3, f"port {number}", "in use", "choose another")
        (home.path / "config.toml").write_text(f'[p2p]\nlisten_address = "127.0.0.1"\nlisten_port = {number}\n')
        assert str(number) in checks(home)["port"].found
    assert connect_daemon(home.path) is None


# --- the network ----------------------------------------------------------------------------------------------------


@needs_root
def test_without_a_network_a_node_runs_remembers_and_says_that_there_is_none(home: Home) -> None:
    with started_in(["unshare", "--net"], home, CIS_P2P__DISCOVERY__ENABLE_MDNS="true"):
        home.cis("memory", "set", "alone", "yes")
        assert holds(home, "alone")
        ended = inside(["unshare", "--net"], home, "doctor", "--json")
        rows = {row["check"]: row for row in json.loads(ended.stdout)}
        assert rows["addresses"]["status"] == "warn"
    assert "Traceback" not in (home.path / "node.log").read_text()


NO_IPV6 = """
import errno, socket
class Socket(socket.socket):
    def __init__(self, family=-1, *rest, **more):
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        super().__init__(family, *rest, **more)
socket.socket = Socket
"""


def test_without_ipv6_a_node_listens_by_ipv4_or_says_that_it_cannot(home: Home, tmp_path: Path) -> None:
    path = patched(tmp_path, NO_IPV6)
    started = home.run("up", "--detach", "--listen", "[::]:0", PYTHONPATH=path)
    assert started.code == 0, started
    assert home.json("status")["listen"].startswith("0.0.0.0:")
    home.cis("down")
    refused(home.run("up", "--detach", "--listen", "[::1]:0", PYTHONPATH=path), 3, "cannot listen", "choose another")


# --- the clock ------------------------------------------------------------------------------------------------------

SKEWED = """
import pathlib, time
_ns, _s = time.time_ns, time.time
_skew_s = lambda: float(pathlib.Path({file!r}).read_text())
time.time_ns = lambda: _ns() + int(_skew_s() * 1e9)
time.time = lambda: _s() + _skew_s()
"""


def test_a_clock_an_hour_ahead_delays_what_is_written_loses_nothing_and_is_told(
    tmp_path: Path, new_home: Callable[[str], Home]
) -> None:
    one, two = new_home("one"), new_home("two")
    pair(one, two)
    skew = tmp_path / "skew"
    skew.write_text("3600")
    one.cis("memory", "set", "before", "kept")
    one.cis("down")
    path = patched(tmp_path, SKEWED.format(file=str(skew)))
    started = one.run("up", "--detach", "--listen", "127.0.0.1:0", PYTHONPATH=path)
    assert started.code == 0, started
    until(lambda: two.status().connected == ("one",) or two.run("p2p", "connect", "one").code == 0)
    one.cis("memory", "set", "ahead", "early")
    until(lambda: [row for row in told_of(two, "ahead") if row.found.startswith("in public, dated ahead")])
    until(lambda: [row for row in told_of(one, "ahead") if row.check == "clock"])
    two.cis("p2p", "ping", "one")
    assert checks(two)["clock"].status == "bad"
    skew.write_text("0")
    one.cis("memory", "set", "mended", "in time")
    until(lambda: holds(two, "mended"))
    assert holds(two, "before")


def told_of(home: Home, key: str) -> list[Row]:
    """What `cis doctor --why` says of a memory, asked of the running node, on this device and the others."""
    node = connect_daemon(home.path)
    assert node is not None, "the node is gone"
    return [row for device in node.call(ExplainMemory(key=key)).devices for row in device.rows]


# --- parts that are not installed -----------------------------------------------------------------------------------


def test_parts_that_are_not_installed_stop_nothing_and_are_named(home: Home, tmp_path: Path) -> None:
    path = patched(tmp_path, "import sys\nsys.modules.update(libtorrent=None, libp2p=None, keyring=None)\n")
    (home.path / "config.toml").write_text("[p2p.discovery]\nenable_dht = true\nlibp2p.enabled = true\n")
    started = home.run("up", "--detach", "--listen", "127.0.0.1:0", PYTHONPATH=path)
    assert started.code == 0, started
    home.cis("memory", "set", "a", "1")
    assert "libtorrent" in home.wait_status(lambda status: "dht" in status.problems).problems["dht"]
    found = {row["check"]: row["fix"] for row in json.loads(home.run("doctor", "--json", PYTHONPATH=path).out)}
    assert ("pip install" in found["DHT"], "pip install" in found["libp2p"]) == (True, True)
    assert "Traceback" not in (home.path / "node.log").read_text()


# --- processes ------------------------------------------------------------------------------------------------------


def patched(folder: Path, code: str) -> str:
    """Return a PYTHONPATH by which code runs in every process before cis does."""
    place = folder / "patch"
    place.mkdir()
    (place / "sitecustomize.py").write_text(code)
    return f"{place}{os.pathsep}{ROOT / 'src'}"


def inside(prefix: list[str], home: Home, *words: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command in namespaces of its own."""
    if shutil.which(prefix[0]) is None:
        pytest.skip(f"{prefix[0]} is not installed")
    environment = {"PYTHONPATH": str(ROOT / "src"), "CIS_HOME": str(home.path), "PATH": os.environ["PATH"], **variables}
    return subprocess.run(
        [*prefix, sys.executable, "-m", "cis", *words], capture_output=True, env=environment, check=False, timeout=60
    )


@contextlib.contextmanager
def started_in(prefix: list[str], home: Home, **variables: str) -> Iterator[None]:
    """A node in namespaces of its own, whose control socket is reached from outside."""
    started = inside(prefix, home, "up", "--detach", **variables)
    if b"unshare" in started.stderr:
        pytest.skip(started.stderr.decode())
    assert started.returncode == 0, started
    yield
    home.cis("down")
