"""How the two nodes of a pair exchange their offers: through a member both know, or through an anchor."""

from __future__ import annotations

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

from tests.net.nat.internet import Internet
from tests.net.nat.nodes import PORT, ROOT, Node, Trio, cis_command
from tests.net.nat.programs import Program, wait_until

SIGNALLED_S = 40.0
ANCHOR_HOST, ANCHOR_PORT = "203.0.113.4", 7679
_HEALTH_S = 0.5


class Signalling(ABC):
    """How two nodes that cannot reach each other yet exchange their offers."""

    settings: Mapping[str, str]

    @abstractmethod
    def wait(self, node: Node) -> None:
        """Wait until a node can be told of the other through it."""

    @abstractmethod
    def leave(self) -> None:
        """Go: what follows is between the two alone."""

    @abstractmethod
    def enter(self) -> None:
        """Be there, before a pair starts."""


class ByMember(Signalling):
    """A third member, on a public address, whom both are connected with; it sleeps while they synchronise."""

    def __init__(self, internet: Internet, trio: Trio) -> None:
        self._hub = trio.hub
        place = internet.host("none", "Z")
        self.settings = {"CIS_P2P__PEERS__STATIC_PEERS": f"did:cis:hub@{place.address}:{PORT}"}
        self._hub.start(place)

    def enter(self) -> None:
        self._hub.signal(signal.SIGCONT)

    def wait(self, node: Node) -> None:
        wait_until(lambda: "hub" in node.status().connected, SIGNALLED_S, f"{node.name} to reach the hub")

    def leave(self) -> None:
        self._hub.signal(signal.SIGSTOP)


class Anchor(Program):
    """``cis anchor serve`` in the middle of the internet, at an address where plain HTTP is allowed: a test net's."""

    def __init__(self, internet: Internet, folder: Path) -> None:
        internet.core.ip(f"addr replace {ANCHOR_HOST}/32 dev br0")
        words = [*cis_command(), "anchor", "serve", "--insecure-http", "--stun-port", "0"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        super().__init__(
            internet.core, [*words, "--listen", f"{ANCHOR_HOST}:{ANCHOR_PORT}"], folder / "anchor.log", environment
        )

    def ready(self) -> bool:
        """Whether it says so."""
        try:
            with self._namespace.entered():
                asking = HTTPConnection(ANCHOR_HOST, ANCHOR_PORT, timeout=_HEALTH_S)
                asking.request("GET", "/healthz")
                return asking.getresponse().status == HTTPStatus.OK
        except OSError:
            return False


class ByAnchor(Signalling):
    """An anchor; it stays, since it carries no memories."""

    def __init__(self, internet: Internet, folder: Path) -> None:
        self.anchor = internet.stack.enter_context(Anchor(internet, folder))
        self.settings = {
            "CIS_P2P__CLOUD_ANCHOR__ENABLED": "true",
            "CIS_P2P__CLOUD_ANCHOR__ENDPOINT": f"http://{ANCHOR_HOST}:{ANCHOR_PORT}",
        }

    def enter(self) -> None:
        pass

    def wait(self, node: Node) -> None:
        wait_until(lambda: node.status().reach.anchors_up, SIGNALLED_S, f"{node.name} to register with the anchor")

    def leave(self) -> None:
        pass
