"""What `cis p2p netcheck` tells behind routers of each kind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import ROOT, Home
from tests.net.nat.internet import Internet
from tests.net.nat.servers import TURN_HOST, TURN_PASSWORD, TURN_PORT, TURN_USER

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("coturn")]

_BEHIND = {
    "full": ("endpoint-independent", "endpoint-independent", "full cone NAT", "direct"),
    "arc": ("endpoint-independent", "address-dependent", "address-restricted cone NAT", "direct"),
    "cone": ("endpoint-independent", "address-and-port-dependent", "port-restricted cone NAT", "relay"),
    "sym": ("address-and-port-dependent", "address-and-port-dependent", "symmetric NAT", "relay"),
}


@pytest.mark.parametrize("kind", list(_BEHIND))
def test_netcheck_tells_what_the_router_does(internet: Internet, kind: str, tmp_path: Path) -> None:
    report = _netcheck(internet, kind, tmp_path)
    mapping, filtering, name, symmetric_peers = _BEHIND[kind]
    nat = report["measured"]["nat"]
    assert (nat["mapping"], nat["filtering"], report["nat_name"]) == (mapping, filtering, name)
    outlook = {one["peers"]: one["how"] for one in report["outlook"]}
    assert outlook["behind a symmetric NAT"] == symmetric_peers
    assert outlook["with a public or forwarded address"] == "direct"
    assert report["relay"] is True


def test_netcheck_tells_that_udp_is_blocked_and_that_a_relay_over_tcp_answers(
    internet: Internet, tmp_path: Path
) -> None:
    report = _netcheck(internet, "blocked", tmp_path)
    assert report["measured"]["udp"] is False
    assert {one["how"] for one in report["outlook"]} == {"relay"}
    by_udp, by_tcp = (one for one in report["measured"]["servers"] if one["kind"] == "turn")
    assert by_udp["latency_ms"] is None
    assert by_tcp["latency_ms"] is not None


def _netcheck(internet: Internet, kind: str, folder: Path) -> Any:
    home = Home(folder / "home")
    home.cis("init", "--name", "solo")
    relays = [
        {"url": f"turn:{TURN_HOST}:{TURN_PORT}?transport={one}", "username": TURN_USER, "credential": TURN_PASSWORD}
        for one in ("udp", "tcp")
    ]
    environment = {
        "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
        "PYTHONPATH": str(ROOT / "src"),
        "CIS_HOME": str(home.path),
        "CIS_P2P__ICE__STUN_SERVERS": f"{TURN_HOST}:{TURN_PORT}",
        "CIS_P2P__ICE__TURN_SERVERS": json.dumps(relays),
    }
    words = [sys.executable, "-m", "cis", "p2p", "netcheck", "--json"]
    with internet.host(kind, "N").namespace.popen(words, env=environment, stdout=subprocess.PIPE) as running:
        out, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    return json.loads(out)
