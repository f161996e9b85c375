"""Doing something beside something else: for as long, and without its errors coming back in a group."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import TypeVar

from cis.errors import CisError

Outcome = TypeVar("Outcome")


async def beside(asides: Iterable[Coroutine[None, None, None]], main: Coroutine[None, None, Outcome]) -> Outcome:
    """Return what ``main`` does, or raise its error; the others run as long, and are cancelled then."""
    failure: CisError | None = None
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(aside) for aside in asides]
        try:
            outcome = await main
        except CisError as error:
            failure = error
        finally:
            for task in running:
                task.cancel()
    if failure is not None:
        raise failure
    return outcome
