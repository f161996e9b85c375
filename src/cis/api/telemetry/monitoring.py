"""A running node's pages for monitors: its metrics, whether it works, and whether it is ready to be relied on.

========== =================================================================================================
/metrics   what `cis.api.telemetry.metrics` lists, at most as old as `FRESH_S`
/healthz   200 while the store answers, else 503: restart the node
/readyz    200 once the node is up and a member of its cluster, else 503 with what is wanting
========== =================================================================================================

A port that cannot be had is no reason for a node to end: it is a problem in `cis status`, and is tried again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from cis.api.telemetry.metrics import Scene, metrics_text, rest_of
from cis.api.telemetry.metrics_http import Page, PageServer
from cis.discovery.address import join_endpoint

if TYPE_CHECKING:
    from cis.api.embedded import EmbeddedNode
    from cis.node.driver import Driver

_log = logging.getLogger(__name__)

FRESH_S = 1.0
"""Monitors that ask more often are told the same again: to count takes reading the store."""
STORE_S = 5.0
AGAIN_S = 30.0
METRICS_MEDIA = "text/plain; version=0.0.4; charset=utf-8"


class Monitoring:
    """Serves the pages of one run; on the node's loop. ``problem`` is why it does not, empty where it does."""

    def __init__(
        self, node: EmbeddedNode, driver: Driver | None, problems: Callable[[], int], is_ready: Callable[[], bool]
    ) -> None:
        self._node = node
        self._driver = driver
        self._problems = problems
        self._is_ready = is_ready
        self._began = time.monotonic()
        self._told: tuple[float, str] | None = None
        self._reading = asyncio.Lock()
        self._counting: asyncio.Future[int] | None = None
        self.problem = ""
        self.server = PageServer({"/metrics": self.metrics, "/healthz": self.health, "/readyz": self.readiness})

    async def run(self, host: str, port: int) -> None:
        """Serve until cancelled."""
        while True:
            try:
                async with self.server.listening(host, port) as (at_host, at_port):
                    self.problem = ""
                    _log.info("metrics are served on port %d", at_port)
                    _log.debug("that is http://%s/metrics", join_endpoint(at_host, at_port))
                    await asyncio.Event().wait()
            except OSError as error:
                why = os.strerror(error.errno).lower() if error.errno else str(error)
                if not self.problem:
                    _log.warning("metrics are not served: %s", why)
                self.problem = f"nothing is served at {join_endpoint(host, port)}: {why}"
            await asyncio.sleep(AGAIN_S)

    async def metrics(self) -> Page:
        """Return what is counted."""
        async with self._reading:
            if self._told is None or time.monotonic() - self._told[0] > FRESH_S:
                resting = await asyncio.to_thread(rest_of, self._node)
                scene = Scene(
                    self._node,
                    self._driver if self._is_ready() else None,
                    resting,
                    uptime_s=time.monotonic() - self._began,
                    ready=not self._wanting(),
                    problems=self._problems(),
                )
                self._told = time.monotonic(), metrics_text(scene)
        return Page(200, self._told[1], METRICS_MEDIA)

    async def health(self) -> Page:
        """Tell whether the store answers."""
        if self._counting is None or self._counting.done():  # one that hangs is not joined by others
            loop = asyncio.get_running_loop()
            self._counting = loop.run_in_executor(None, self._node.local.public_count)
        if not (await asyncio.wait([self._counting], timeout=STORE_S))[0]:
            return Page(503, f"the store does not answer within {STORE_S:g} s\n")
        self._counting.result()
        return Page(200, "ok\n")

    async def readiness(self) -> Page:
        """Tell whether the node can be relied on."""
        wanting = self._wanting()
        return Page(503, f"{wanting}\n") if wanting else Page(200, "ok\n")

    def _wanting(self) -> str:
        if not self._is_ready():
            return "the node is starting"
        return "this node was removed from its cluster" if self._node.local.cluster.removed else ""
