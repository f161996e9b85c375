"""The child's side of `pair`: a role answers requests from standard input until that ends."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import sys
from collections.abc import Callable
from typing import IO, Any, Protocol

REQUEST_BYTES_MAX = 1 << 20


class Role(Protocol):
    """Has a coroutine method ``on_REQUEST`` per request, returning what is answered, or None."""

    async def close(self) -> None:
        """End what still runs."""


def run_role(name: str) -> None:
    """Be the role of that name until standard input ends."""
    serve(_factory(name))


def serve(factory: Callable[[asyncio.TaskGroup], Role]) -> None:
    """Be that role until standard input ends; what it prints goes to standard error."""
    answers, sys.stdout = sys.stdout, sys.stderr
    logging.basicConfig(level=logging.WARNING)
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(factory, answers))
    else:
        uvloop.run(_serve(factory, answers))


def _factory(name: str) -> Callable[[asyncio.TaskGroup], Role]:
    # Each role loads what it needs alone: what one holds in memory is measured.
    module = importlib.import_module(f"cis.bench.{name}_role")
    found: Callable[[asyncio.TaskGroup], Role] = getattr(module, f"{name.capitalize()}Role")
    return found


async def _serve(factory: Callable[[asyncio.TaskGroup], Role], answers: IO[str]) -> None:
    reader = asyncio.StreamReader(limit=REQUEST_BYTES_MAX)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with asyncio.TaskGroup() as group:
        role = factory(group)
        try:
            while line := await reader.readline():
                print(json.dumps(await _answer(role, json.loads(line))), file=answers, flush=True)
        finally:
            await role.close()


async def _answer(role: Role, request: dict[str, Any]) -> dict[str, Any]:
    """Return what the role answers; any failure is told to the parent, which decides."""
    try:
        answer: dict[str, Any] | None = await getattr(role, "on_" + request.pop("request"))(**request)
    except Exception as error:
        logging.getLogger(__name__).exception("a request failed")
        return {"error": f"{type(error).__name__}: {error}"}
    return answer or {}
