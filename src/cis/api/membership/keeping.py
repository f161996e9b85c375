"""What a running node keeps of a space: taken up at once, then told to the others, and what is lacking fetched."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cis.api.membership.spaces import SpaceOperations
from cis.api.membership.trust_schema import KeepSpace, SpaceInfo

if TYPE_CHECKING:
    from cis.node.driver import Driver


class KeepingOperations:
    """Changes what is kept, and has the node follow."""

    def __init__(self, spaces: SpaceOperations, driver: Driver) -> None:
        self._spaces = spaces
        self._driver = driver

    async def keep(self, request: KeepSpace) -> SpaceInfo:
        """Take it up; bodies come and go afterwards."""
        done = await asyncio.to_thread(self._spaces.keep, request)
        self._driver.keeping_changed()
        return done
