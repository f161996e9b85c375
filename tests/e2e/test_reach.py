"""How a node reaches others, as its user sees it: connections, pings, failed attempts, and the network measured."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.conftest import Home, pair

pytestmark = pytest.mark.timeout(240)
CREDENTIAL = "hush-0123-hush"


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def coturn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """STUN and TURN on two addresses of loopback; its port."""
    if shutil.which("turnserver") is None:
        pytest.skip("turnserver (coturn) is not installed")
    folder, port, other = tmp_path_factory.mktemp("coturn"), _free_port(), _free_port()
    words = ["turnserver", "-n", "-L", "127.0.0.1", "-L", "127.0.0.2", f"--listening-port={port}"]
    words += [f"--alt-listening-port={other}", "--no-tls", "--no-dtls", "--no-cli", "--log-file=stdout"]
    words += ["--lt-cred-mech", "--realm=e2e", f"--user=cis:{CREDENTIAL}", "--allow-loopback-peers"]
    words += [f"--pidfile={folder}/pid", f"--userdb={folder}/users"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        yield port
        running.kill()


def _use(home: Home, port: int, credential: str = CREDENTIAL) -> None:
    servers = ", ".join(
        f'{{ url = "turn:127.0.0.1:{port}?transport={one}", username = "cis", credential = "{credential}" }}'
        for one in ("udp", "tcp")
    )
    ice = f'[p2p.ice]\nstun_servers = ["127.0.0.1:{port}"]\nturn_servers = [{servers}]\n'
    config = home.path / "config.toml"
    config.write_text(f'[p2p]\nlisten_address = "127.0.0.1"\n{ice}')
    config.chmod(0o600)


def test_connections_and_pings_show_the_path(couple: tuple[Home, Home]) -> None:
    one, two = couple
    (found,) = one.json("p2p", "connections")
    assert (found["name"], found["kind"], found["local"], found["remote"]) == ("two", "lan", "host", "host")
    assert found["address"].startswith("127.0.0.1:")
    assert found["since_s"] > 0
    assert found["own"] == [{"kind": "host", "address": one.json("status")["listen"]}]
    verbose = one.cis("p2p", "connections", "--verbose")
    assert "two  direct on the local network" in verbose
    assert "not better  nothing better is to be had" in verbose
    lines = one.cis("p2p", "ping", "two", "-c", "3", "--interval", "10ms").splitlines()
    assert [line.startswith("reply from two in ") for line in lines[:3]] == [True] * 3
    assert [found["address"] in line for line in lines[:3]] == [True] * 3
    pinged = one.json("p2p", "ping", "two", "-c", "2", "--interval", "10ms")
    assert [reply["path"] for reply in pinged["replies"]] == ["lan", "lan"]
    assert [reply["rtt_ms"] for reply in pinged["replies"]] == pinged["rtt_ms"]
    assert {one.status().reach.relayed for one in couple if one.status().reach} == {()}
    assert two.json("p2p", "connections")[0]["name"] == "one"


def test_a_failed_connect_says_what_became_of_each_attempt(new_home: Callable[[str], Home]) -> None:
    one, two = new_home("one"), new_home("two")
    pair(one, two)
    address = two.json("status")["listen"]
    two.cis("down")
    one.wait(lambda status: status["connected"] == [], "status")
    failed = one.run("p2p", "connect", "two", "--timeout", "25s")
    assert failed.code in {3, 5}, failed
    assert failed.out == ""
    *attempts, conclusion = failed.err.splitlines()
    assert conclusion.startswith("cis: ")
    assert [line for line in attempts if address in line], failed
    assert all(line.startswith("  ") for line in attempts)


def test_the_network_is_measured_with_and_without_a_running_node(new_home: Callable[[str], Home], coturn: int) -> None:
    home = new_home("solo")
    home.cis("init", "--name", "solo")
    _use(home, coturn)
    alone = home.json("p2p", "netcheck")
    home.cis("up", "--listen", "127.0.0.1:0", "--detach")
    through = home.json("p2p", "netcheck")
    for report in (alone, through):
        measured: dict[str, Any] = report["measured"]
        assert (measured["udp"], measured["nat"]["mapping"]) == (True, "none")
        assert measured["nat"]["filtering"] == "endpoint-independent"
        assert [(one["kind"], one["error"]) for one in measured["servers"]] == [
            ("stun", ""),
            ("turn", ""),
            ("turn", ""),
        ]
        assert report["relay"] is True
        assert {one["how"] for one in report["outlook"][:-1]} == {"direct"}
    text = home.cis("p2p", "netcheck")
    assert "no NAT, open to all" in text
    assert f"127.0.0.1:{coturn} over TCP" in text


def test_a_credential_is_in_no_output_and_no_log(new_home: Callable[[str], Home], coturn: int) -> None:
    home = new_home("solo")
    home.cis("init", "--name", "solo")
    _use(home, coturn)
    assert home.run("up", "--listen", "127.0.0.1:0", "--detach", CIS_LOG="debug").code == 0
    shown = [home.run("p2p", "netcheck"), home.run("doctor", "--reveal"), home.run("status", "--json")]
    shown += [home.run("config", "list"), home.run("p2p", "connections", "--verbose")]
    home.wait(lambda status: status["reach"]["relay"], "status")
    home.cis("down")
    for text in (*(one.out + one.err for one in shown), (home.path / "node.log").read_text()):
        assert CREDENTIAL not in text
    _use(home, coturn, "wrong-one")
    refused = home.run("p2p", "netcheck")
    assert "check user name and credential" in refused.out
    assert "wrong-one" not in refused.out + refused.err
    (home.path / "node.log").unlink()
    home.cis("up", "--listen", "127.0.0.1:0", "--detach")
    home.wait(lambda status: status["reach"]["turn_failing"] == 2, "status")
    assert "none of 2 TURN servers gives this node a relay" in home.cis("status")
    home.cis("down")
    log = (home.path / "node.log").read_text()
    assert "wrong-one" not in log
    assert f":{coturn}" not in log


def test_a_removed_node_says_so_running_or_not(new_home: Callable[[str], Home]) -> None:
    one, two = new_home("one"), new_home("two")
    pair(one, two)
    one.cis("acl", "revoke", "two", "--yes")
    told = two.wait_status(lambda status: status.removed_by)
    assert told.removed_by is not None
    assert "one" in told.removed_by
    assert "removed   this node is no member any more" in two.cis("status")
    assert two.run("doctor").code == 1
    two.cis("down")
    assert "removed   this node is no member any more" in two.cis("status")
