"""A network of js-libp2p nodes, a process of Node.js, and what the tests ask of it."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.interop.npm import npm_folder

PATIENCE_S = 90.0
POLL_S = 0.05

needs_libp2p = pytest.mark.skipif(
    find_spec("libp2p") is None, reason="py-libp2p is missing: pip install 'cis-node[libp2p]'"
)


class Network:
    """Speaks with the process; ``addresses`` are the multiaddrs of its nodes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._turn = asyncio.Lock()
        self.addresses: list[str] = []

    async def begin(self) -> None:
        self.addresses = (await self._answer())["addresses"]

    async def do(self, command: str, **words: object) -> dict[str, Any]:
        """Have a command of nodes.mjs done, and return its answer; RuntimeError where it failed there."""
        async with self._turn:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps({"command": command, **words}).encode() + b"\n")
            answer = await self._answer()
        if "error" in answer:
            raise RuntimeError(f"{command}: {answer['error']}")
        return answer

    async def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            answer: dict[str, Any] = json.loads(await self._process.stdout.readline())
            return answer


@asynccontextmanager
async def network(nodes: int) -> AsyncIterator[Network]:
    """Run so many nodes; skips where they cannot be had."""
    folder: Path = await asyncio.to_thread(npm_folder, "libp2p")
    process = await asyncio.create_subprocess_exec(
        shutil.which("node") or "node",
        "nodes.mjs",
        str(nodes),
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        made = Network(process)
        await made.begin()
        yield made
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
