"""Networks of other implementations' nodes, of npm's packages: a process of Node.js that tests speak with.

Packages are installed once for each content, into the user's cache.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
NODE_MAJOR_MIN = 20
INSTALL_S = 300
ANSWER_S = 90.0


class Network:
    """Speaks with the process, a line of JSON each way; ``addresses`` are those of its nodes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._turn = asyncio.Lock()
        self.addresses: list[str] = []

    async def begin(self) -> None:
        """Wait until all nodes run."""
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
        async with asyncio.timeout(ANSWER_S):
            answer: dict[str, Any] = json.loads(await self._process.stdout.readline())
            return answer


@asynccontextmanager
async def network(name: str, nodes: int) -> AsyncIterator[Network]:
    """Run so many nodes by ``nodes.mjs`` in ``tests/interop/<name>``; skips where they cannot be had."""
    folder = await asyncio.to_thread(npm_folder, name)
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


def npm_folder(name: str) -> Path:
    """The programs of ``tests/interop/<name>`` with their packages beside them; skips where there is no node or npm.

    No lock file: what package.json names is named exactly.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip(f"interop with {name} needs node and npm, and {'node' if node is None else 'npm'} is missing")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < NODE_MAJOR_MIN:
        pytest.skip(f"interop with {name} needs node {NODE_MAJOR_MIN}, and this is {version}")
    sources = sorted([HERE / name / "package.json", *(HERE / name).glob("*.mjs")])
    digest = hashlib.sha256(b"".join(path.name.encode() + b"\0" + path.read_bytes() for path in sources)).hexdigest()
    caches = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cis-interop"
    folder = caches / f"{name}-{digest[:16]}"
    if not folder.exists():
        _install(npm, sources, folder)
    return folder


def _install(npm: str, sources: list[Path], folder: Path) -> None:
    """Install aside and move into place, since another process may be doing the same."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        for source in sources:
            shutil.copy(source, aside)
        words = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund"]
        done = subprocess.run(words, cwd=aside, capture_output=True, text=True, check=False, timeout=INSTALL_S)
        if done.returncode != 0:
            pytest.skip(f"npm could not install what interop needs: {done.stderr.strip()[-300:]}")
        try:
            aside.rename(folder)
        except OSError:
            if not folder.exists():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
