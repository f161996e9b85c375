"""What stands in the internet: coturn, on two addresses as RFC 5780 wants it, and this project's own anchor."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
from pathlib import Path

from tests.net.anchors import certificate
from tests.net.nat import stun
from tests.net.nat.internet import PUBLIC, Internet
from tests.net.nat.programs import Program

TURN_HOST, TURN_OTHER_HOST = f"{PUBLIC}2", f"{PUBLIC}3"
SPARE_HOST, SPARE_OTHER_HOST = f"{PUBLIC}5", f"{PUBLIC}6"
TURN_HOSTS = frozenset({TURN_HOST, TURN_OTHER_HOST, SPARE_HOST, SPARE_OTHER_HOST})
TURN_PORT, TURNS_PORT = 3478, 5349
TURN_USER, TURN_PASSWORD = "lab", "not-a-secret"
_RELAY_PORTS = (40_000, 49_999)
_COUNTING = """
table ip relay{name} {{
 counter carried {{ }}
 chain arriving {{
  type filter hook input priority 300;
  ip daddr {host} udp dport {first}-{last} counter name carried
 }}
}}
"""


class Coturn(Program):
    """STUN on two addresses and four ports, TURN over UDP, TCP and TLS, long-term credentials."""

    def __init__(self, internet: Internet, host: str = TURN_HOST, other_host: str = TURN_OTHER_HOST) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="cis-turn-"))
        self._core = internet.core
        self._server = (host, TURN_PORT)
        self._table = f"relay{host.rpartition('.')[2]}"
        self.authority, key = certificate(self._folder, host)
        first, last = _RELAY_PORTS
        words = [
            *("turnserver", "-n", "--lt-cred-mech", "--realm=lab", f"--user={TURN_USER}:{TURN_PASSWORD}"),
            *(f"--listening-ip={host}", f"--listening-ip={other_host}", f"--relay-ip={host}"),
            *(f"--tls-listening-port={TURNS_PORT}", f"--cert={self.authority}", f"--pkey={key}"),
            *(f"--listening-port={TURN_PORT}", f"--min-port={first}", f"--max-port={last}"),
            *("--fingerprint", "--no-dtls", "--no-cli", "--relay-threads=1", "--log-file=stdout"),
            *(f"--pidfile={self._folder}/pid", f"--userdb={self._folder}/users"),
        ]
        super().__init__(internet.core, words, self._folder / "log")
        internet.core.nft(_COUNTING.format(name=self._table.removeprefix("relay"), host=host, first=first, last=last))

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def ready(self) -> bool:
        """Whether it answers STUN."""
        with self._core.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            return stun.mapped(asking, self._server, patience_s=0.05) is not None

    def carried(self) -> int:
        """Return how many bytes ever reached a relayed address."""
        (row,) = (
            one for one in self._core.nft_json("list", "counters", "table", "ip", self._table) if "counter" in one
        )
        count: int = row["counter"]["bytes"]
        return count


def ice_settings(*hosts: str) -> dict[str, str]:
    """Return the environment that has a node use all there is: UPnP, STUN, TURN over UDP and TCP at these hosts."""
    at = [f"turn:{host}:{TURN_PORT}?transport={way}" for host in hosts or (TURN_HOST,) for way in ("udp", "tcp")]
    return {
        "CIS_P2P__NAT__ENABLE_UPNP": "true",
        "CIS_P2P__ICE__STUN_SERVERS": json.dumps([f"{host}:{TURN_PORT}" for host in (TURN_HOST, TURN_OTHER_HOST)]),
        "CIS_P2P__ICE__TURN_SERVERS": _relays(at),
    }


def tls_settings(server: Coturn) -> dict[str, str]:
    """Return the environment that has a node use a relay over TLS alone, and trust its certificate."""
    url = f"turns:{TURN_HOST}:{TURNS_PORT}?transport=tcp"
    return {"CIS_P2P__ICE__TURN_SERVERS": _relays([url]), "SSL_CERT_FILE": str(server.authority)}


def _relays(urls: list[str]) -> str:
    return json.dumps([{"url": url, "username": TURN_USER, "credential": TURN_PASSWORD} for url in urls])
