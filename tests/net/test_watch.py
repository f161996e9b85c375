"""The network watch in a network namespace, whose addresses, links and routes come and go."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.net.home_router import need_namespaces, run

PROGRAM = Path(__file__).with_name("watching_host.py")


@pytest.fixture
def namespace() -> Iterator[str]:
    need_namespaces("ip")
    name = f"ciswatch{os.getpid()}"
    run("ip", "netns", "add", name)
    try:
        run("ip", "-n", name, "link", "add", "a0", "type", "veth", "peer", "name", "b0")
        for link in ("lo", "a0", "b0"):
            run("ip", "-n", name, "link", "set", link, "up")
        run("ip", "-n", name, "addr", "add", "10.9.0.1/24", "dev", "a0")
        while run("ip", "-n", name, "link", "show").count("state UP") < 2:
            continue
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)


@asynccontextmanager
async def watching(namespace: str, *how: str) -> AsyncIterator[asyncio.StreamReader]:
    process = await asyncio.create_subprocess_exec(
        *("ip", "netns", "exec", namespace, sys.executable, str(PROGRAM), *how), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert await _line(process.stdout) == "ready"
        yield process.stdout
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _line(lines: asyncio.StreamReader) -> str:
    async with asyncio.timeout(20):
        return (await lines.readline()).decode().strip()


@pytest.mark.parametrize("loop", ["", "uvloop"])
async def test_the_kernel_tells_what_comes_and_goes(namespace: str, loop: str) -> None:
    async with watching(namespace, "netlink", *filter(None, [loop])) as lines:
        run("ip", "-n", namespace, "addr", "add", "10.9.0.2/24", "dev", "a0")
        assert await _line(lines) == "an address came"
        run("ip", "-n", namespace, "route", "add", "default", "via", "10.9.0.77")
        assert await _line(lines) == "the default route changed"
        run("ip", "-n", namespace, "addr", "del", "10.9.0.2/24", "dev", "a0")
        assert await _line(lines) == "an address went"
        run("ip", "-n", namespace, "link", "set", "b0", "down")
        assert "a link went down" in await _line(lines)


async def test_what_was_there_before_is_no_change_when_told_again(namespace: str) -> None:
    async with watching(namespace, "netlink") as lines:
        lifetime = ("valid_lft", "1000", "preferred_lft", "1000")
        run("ip", "-n", namespace, "addr", "change", "10.9.0.1/24", "dev", "a0", *lifetime)
        run("ip", "-n", namespace, "route", "add", "10.10.0.0/16", "via", "10.9.0.77")
        run("ip", "-n", namespace, "link", "set", "a0", "mtu", "1400")
        run("ip", "-n", namespace, "route", "add", "default", "via", "10.9.0.77")
        assert await _line(lines) == "the default route changed"


async def test_without_the_kernel_addresses_are_noticed_all_the_same(namespace: str) -> None:
    async with watching(namespace, "polling") as lines:
        run("ip", "-n", namespace, "addr", "add", "10.9.0.2/24", "dev", "a0")
        assert await _line(lines) == "an address came"
        run("ip", "-n", namespace, "addr", "del", "10.9.0.2/24", "dev", "a0")
        assert await _line(lines) == "an address went"
