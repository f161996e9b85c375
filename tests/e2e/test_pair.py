"""``cis pair`` as two people see it: two real processes, with a node running on either side or none."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from typing import IO

import pytest

from cis.apps.cli.main import run
from cis.discovery.address import split_endpoint
from cis.model import Kind
from cis.node.entry.burns import BurnFile
from cis.node.finding.bootstrap import remember_peer
from cis.node.home.folder import Home as NodeHome
from cis.node.home.local import LocalNode, system_clock_ms
from cis.store.author import Write
from cis.trust.codes import BURNS_MAX
from cis.wire.content import Content
from cis.wire.membership import Role
from tests.e2e.conftest import ROOT, Home
from tests.net.test_mdns import _REASON as NO_MULTICAST
from tests.unit.node.households import admitted

NewHome = Callable[[str], Home]
PATIENCE_S = 40
LOOPBACK = {"CIS_P2P__LISTEN_ADDRESS": "127.0.0.1", "CIS_P2P__LISTEN_PORT": "0"}
_CODE = re.compile(r"^    cis pair (\d+-[a-z]+-[a-z]+)$")
_ADDRESS = re.compile(r"--at (127\.0\.0\.1:\d+)")


@dataclass
class Showing:
    """A ``cis pair`` that waits for the code to be typed elsewhere."""

    process: subprocess.Popen[str]
    code: str
    address: str
    said: str

    def ended(self) -> tuple[int, str, str]:
        """Wait for its end; returns exit code, all it printed, and its errors."""
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, self.said + out, err


def environment(home: Home, **variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CIS_")}
    mdns = {"CIS_P2P__DISCOVERY__ENABLE_MDNS": "false"}
    return {**kept, "PYTHONPATH": str(ROOT / "src"), "CIS_HOME": str(home.path), **mdns, **LOOPBACK, **variables}


@contextmanager
def showing(home: Home, *words: str, **variables: str) -> Iterator[Showing]:
    """Run ``cis pair``, up to where it shows the code."""
    command = [sys.executable, "-m", "cis", "pair", *words]
    settings = environment(home, **variables)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=settings, text=True) as process:
        try:
            yield read_code(process)
        finally:
            process.kill()


def read_code(process: subprocess.Popen[str]) -> Showing:
    lines: IO[str] | None = process.stdout
    assert lines is not None
    said = ""
    for line in lines:
        said += line
        if found := _ADDRESS.search(line):
            shown = next(match for one in said.splitlines() if (match := _CODE.match(one)))
            return Showing(process, shown[1], found[1], said)
    raise AssertionError(f"no code was shown: {said!r} {process.communicate()[1]!r}")


def made(new_home: NewHome, *names: str, memories: tuple[str, ...] = ()) -> list[Home]:
    """Nodes that were made and do not run; each of ``memories`` is a public one of the node in its place."""
    homes = [new_home(name) for name in names]
    for home, name, key in zip_longest(homes, names, memories):
        with LocalNode.create(NodeHome(home.path), name) as local:
            if key is not None:
                local.store.write([Write(local.cluster.public, Kind.PUT, Content(key, b"value"))]).result()
    return homes


def made_cluster(new_home: NewHome, first: str, second: str) -> tuple[Home, Home]:
    """Two running nodes of one cluster, the first its admin."""
    homes = made(new_home, first, second)
    with ExitStack() as opened:
        issuer, joiner = (opened.enter_context(LocalNode.open(NodeHome(home.path))) for home in homes)
        admitted(issuer, joiner, Role.WRITER)
        remembered = issuer.identity.node
    host, port = split_endpoint(homes[0].up()["listen"])
    with LocalNode.open(NodeHome(homes[1].path)) as joiner:
        remember_peer(joiner, remembered, [(host, port)])
    homes[1].up()
    homes[0].wait_status(lambda status: status.connected == (second,))
    return homes[0], homes[1]


@pytest.fixture(scope="module")
def solo(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A node that was made, does not run, and pairs with nobody."""
    home = Home(tmp_path_factory.mktemp("solo") / "home")
    LocalNode.create(NodeHome(home.path), "solo").close()
    return home


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set what `Home.run` sets, for a command run in this process."""
    for name in [name for name in os.environ if name.startswith("CIS_")]:
        monkeypatch.delenv(name)
    for name, value in {**LOOPBACK, "CIS_P2P__DISCOVERY__ENABLE_MDNS": "false"}.items():
        monkeypatch.setenv(name, value)


def take(home: Home, code: str, *words: str, **variables: str) -> tuple[int, str, str]:
    ended = home.run("pair", code, *words, **LOOPBACK, **variables)
    return ended.code, ended.out, ended.err


def mistyped(code: str) -> str:
    number, first, second = code.split("-")
    return f"{number}-{first}-{'copper' if second != 'copper' else 'otter'}"


def did(home: Home) -> str:
    return home.status().did


def shown_and_taken(shown: Showing, joiner: str, words: list[str]) -> str:
    return (
        "on the other device, within 2 minutes:\n"
        "\n"
        f"    cis pair {shown.code}\n"
        "\n"
        f"and, since mDNS is off here: --at {shown.address}\n"
        "desktop is a member now, as writer\n"
        f"  {joiner}\n"
        "both devices must show the same words:\n"
        "\n"
        f"    {' '.join(words)}\n"
        "\n"
        "other words there? It is not your device that came in: cis acl revoke desktop\n"
        "next: cis up --detach\n"
    )


def test_what_both_sides_print(new_home: NewHome) -> None:
    laptop, desktop = made(new_home, "laptop", "desktop")
    with showing(laptop) as shown:
        code, said, beside = take(desktop, shown.code, "--at", shown.address)
        assert (code, beside) == (0, f"asking {shown.address}\n")
        words = said.splitlines()[4].split()
        assert len(words) == 4
        assert said == (
            "this device is desktop now, writer in the cluster of laptop\n"
            f"  {did(laptop)}\n"
            "both devices must show the same words:\n"
            "\n"
            f"    {' '.join(words)}\n"
            "\n"
            "next: cis up --detach\n"
        )
        assert shown.ended() == (0, shown_and_taken(shown, did(desktop), words), "")
    one, other = laptop.status(), desktop.status()
    assert one.members == other.members == ("desktop", "laptop")
    assert one.cluster == other.cluster


def test_running_nodes_are_paired_as_they_run_and_share_from_then_on(new_home: NewHome) -> None:
    laptop, desktop = made(new_home, "laptop", "desktop", memories=("editor", "shell"))
    laptop.up()
    process = desktop.up()["pid"]
    with showing(laptop) as shown:
        code, said, _ = take(desktop, shown.code, "--at", shown.address, "--yes")
        assert code == 0
        assert "next: cis up" not in said
        assert shown.ended()[0] == 0
    assert desktop.status().pid == process
    desktop.wait_keys("editor", "shell")
    laptop.wait_keys("editor", "shell")
    assert desktop.status().connected == ("laptop",)


def test_the_running_node_of_a_new_device_shows_the_code_and_joins_who_takes_it(new_home: NewHome) -> None:
    first, second = made_cluster(new_home, "one", "two")
    (third,) = made(new_home, "three", memories=("editor",))
    with LocalNode.open(NodeHome(third.path)) as local:
        local.store.write([Write(local.cluster.private, Kind.PUT, Content("editor", b"another"))]).result()
    process = third.up()["pid"]
    with showing(third) as shown:
        code, said, _ = take(first, shown.code, "--at", shown.address, "--role", "reader", "--name", "shelf")
        assert code == 0
        assert said.startswith("shelf is a member now, as reader\n")
        ended = shown.ended()
    assert ended[0] == 0
    assert "this device is shelf now, reader in the cluster of one\n" in ended[1]
    assert ended[1].endswith(
        "memories that go by another key now, as theirs was taken:\n  editor of public is public/editor\n"
    )
    status = third.status()
    assert (status.pid, status.name, status.role) == (process, "shelf", "reader")
    assert status.members == ("one", "shelf", "two")
    second.wait_status(lambda status: "shelf" in status.members)


def test_a_wrong_code_is_burnt_on_both_sides_and_three_stop_pairing(new_home: NewHome) -> None:
    laptop, desktop = made(new_home, "laptop", "desktop")
    for left in (2, 0):
        if left == 0:  # the second failure
            for home in (laptop, desktop):
                BurnFile(NodeHome(home.path).pairing, system_clock_ms).begin()
        with showing(laptop) as shown:
            code, said, beside = take(desktop, mistyped(shown.code), "--at", shown.address)
            assert (code, said) == (4, "")
            assert "is not the code shown there" in beside
            ended = shown.ended()
            assert ended[0] == 4
            assert f"the code {shown.code} is burnt" in ended[2]
            hint = f"after {left} more failure" if left else "this was the third failure"
            assert hint in beside
            assert hint in ended[2]
    for home, words in ((laptop, ["pair"]), (desktop, ["pair", "1-copper-otter", "--at", "127.0.0.1:9"])):
        stopped = home.run(*words, **LOOPBACK)
        assert stopped.code == 4
        assert re.search(r"pairing is stopped on this device for another (60|59) min", stopped.err)
    assert laptop.status().members == ("laptop",)


def test_a_code_ends_with_the_command_that_shows_it(new_home: NewHome) -> None:
    laptop, desktop = made(new_home, "laptop", "desktop")
    laptop.up()
    with showing(laptop) as shown:
        shown.process.send_signal(signal.SIGINT)
        assert shown.process.wait(PATIENCE_S) == 130
        late, at = shown.code, shown.address

    def shows_another() -> bool:
        with showing(laptop) as again:
            return again.code != late

    assert shows_another(), "the daemon noticed that nobody waits for the first code"
    code, _, beside = take(desktop, late, "--at", at)
    assert code in {3, 4}
    assert "run `cis pair` there again" in beside


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["42-copper-otter"], 2, "mDNS is off here.*--at HOST:PORT"),
        (["42-copper-oter", "--at", "127.0.0.1:9"], 2, "'oter' is no word a code is made of"),
        (["copper-otter"], 2, "begins with a number"),
        (["--at", "127.0.0.1:9"], 2, "--at goes with a code"),
        (["42-copper-otter", "--at", "nowhere:x"], 2, "no usable port"),
        (["42-copper-otter", "--role", "king"], 2, "no role"),
        (["42-copper-otter", "--at", "127.0.0.1:9", "--name", "Bad Name"], 2, "'Bad Name' cannot name a node"),
        (["--name", "Bad Name"], 2, "'Bad Name' cannot name a node"),
        (["42-copper-otter", "--space", "nothing", "--at", "127.0.0.1:9"], 2, "is no space"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said_at_once(
    solo: Home, words: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str], in_process: None
) -> None:
    assert run(["--home", str(solo.path), "pair", *words]) == code
    said = capsys.readouterr()
    assert re.search(says, said.err), said.err
    assert said.out == ""
    assert BurnFile(NodeHome(solo.path).pairing, system_clock_ms).left() == BURNS_MAX


def test_an_address_where_nothing_answers_says_what_the_other_device_must_do(solo: Home) -> None:
    ended = solo.run("pair", "42-copper-otter", "--at", "127.0.0.1:9", **LOOPBACK)
    assert ended.code == 5
    assert "The other device must be showing the code now" in ended.err


def test_memories_do_not_move_unasked(new_home: NewHome) -> None:
    (desktop,) = made(new_home, "desktop", memories=("shell",))
    ended = desktop.run("pair", "42-copper-otter", "--at", "127.0.0.1:9", **LOOPBACK)
    assert ended.code == 2
    assert "its 1 public memory will be shared with it" in ended.err
    assert "Go on? Add --yes" in ended.err


def test_the_json_of_both_sides(new_home: NewHome) -> None:
    laptop, desktop = made(new_home, "laptop", "desktop")
    command = [sys.executable, "-m", "cis", "pair", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(laptop), text=True
    ) as process:
        assert process.stdout is not None
        shown = json.loads(process.stdout.readline())
        assert (shown["type"], shown["expires_s"]) == ("code", 120)
        code, said, _ = take(desktop, shown["code"], "--at", shown["addresses"][0], "--json")
        assert code == 0
        ours, theirs = json.loads(process.communicate(timeout=PATIENCE_S)[0]), json.loads(said)
    assert (ours["words"], ours["cluster"]) == (theirs["words"], theirs["cluster"])
    assert (ours["joined"], theirs["joined"]) == (False, True)
    assert ours["members"] == theirs["members"] == ["desktop", "laptop"]
    assert (ours["peer"], theirs["peer"]) == ("desktop", "laptop")


@pytest.mark.skipif(NO_MULTICAST is not None, reason=NO_MULTICAST or "")
@pytest.mark.parametrize("runs", [False, True], ids=["no node runs", "nodes run"])
def test_on_one_network_the_number_is_enough_to_find_the_other(new_home: NewHome, runs: bool) -> None:
    service = {
        "CIS_P2P__DISCOVERY__SERVICE_NAME": f"_c{secrets.token_hex(4)}._udp",
        "CIS_P2P__DISCOVERY__ENABLE_MDNS": "true",
    }
    laptop, desktop = made(new_home, "laptop", "desktop")
    if runs:
        for home in (laptop, desktop):
            started = home.run("up", "--listen", "127.0.0.1:0", "--detach", **service)
            assert started.code == 0, started
    with showing(laptop, **service) as shown:
        assert f"where that does not find this device: --at {shown.address}\n" in shown.said
        code, said, beside = take(desktop, shown.code, **service)
        assert (code, beside) == (
            0,
            f"looking for the device that shows {shown.code.split('-')[0]}-… on this network\n",
        )
        assert shown.ended()[0] == 0
    assert said.startswith("this device is desktop now")
