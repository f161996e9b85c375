"""What the connections there are run on, and how long a round trip takes: told to the peer book while they stand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from cis.node.core import events
from cis.node.core.core import Core
from cis.node.paths.facts import PathFacts

MEASURE_S = 5.0


class Measuring:
    """Belongs to the loop's thread."""

    def __init__(
        self, core: Core, paths: Callable[[], Sequence[PathFacts]], report: Callable[[events.Event], None]
    ) -> None:
        self._core = core
        self._paths = paths
        self._report = report

    async def run(self) -> None:
        """Measure in intervals until cancelled."""
        while True:
            await asyncio.sleep(MEASURE_S)
            self.measure()

    def measure(self) -> None:
        """Report how each connection stands."""
        for facts in self._paths():
            link = self._core.link_to(facts.node)
            if link is not None:
                self._report(events.Measured(link.id, facts.kind, facts.address, facts.rtt_s))
