"""Port mapping with a real miniupnpd, in network namespaces made and removed here."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.net.home_router import HOST, LAN, OTHER, PROGRAMS, WAN, Home, need_namespaces, run

PORT = 7677
ATTEMPTS = 5
"""How often all are asked: one whose answer comes too late, on a busy machine, is not asked again meanwhile."""
PROGRAM = Path(__file__).with_name("mapping_host.py")
_SAY = "import socket, sys; socket.socket(2, 2).sendto(b'hello', (sys.argv[1], int(sys.argv[2])))"
_MAP_FOR_ANOTHER = f"""
import asyncio
from cis.reach.portmap.gateway import Gateway
from cis.reach.portmap.upnp import Upnp
asyncio.run(Upnp("{OTHER}", Gateway("{LAN}", "{OTHER}"), {PORT}).map({PORT}))
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    need_namespaces(*PROGRAMS)
    home = Home(f"cismap{os.getpid()}", tmp_path)
    try:
        home.open()
        yield home
    finally:
        home.close()


class Host:
    """The program in the home's host: what it says, and what it is told."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())

    async def hear(self, event: str) -> dict[str, Any]:
        """The next thing it says of a kind, passing over others."""
        assert self._process.stdout is not None
        async with asyncio.timeout(20):
            while True:
                said: dict[str, Any] = json.loads(await self._process.stdout.readline())
                if said["event"] == event:
                    return said

    async def facts(self) -> dict[str, Any]:
        self.tell("facts")
        facts: dict[str, Any] = (await self.hear("facts"))["facts"]
        return facts

    async def answers(self) -> list[dict[str, Any]]:
        """What each protocol was found to say, once all have answered or been silent for too long."""
        while True:
            told: list[dict[str, Any]] = (await self.facts())["protocols"]
            if all(one["outcome"] != "Outcome.UNTRIED" for one in told):
                return told
            await asyncio.sleep(0)


@asynccontextmanager
async def mapping(home: Home, *protocols: str, checks: str = "often") -> AsyncIterator[Host]:
    """A node's mapper in the host, speaking the protocols named."""
    process = await asyncio.create_subprocess_exec(
        *("ip", "netns", "exec", home.host, sys.executable, str(PROGRAM), str(PORT), checks, *protocols),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Host(process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.mark.parametrize("protocol", ["pcp", "nat-pmp", "upnp"])
async def test_each_protocol_makes_a_way_in_and_takes_it_away(home: Home, protocol: str) -> None:
    home.start()
    async with mapping(home, protocol) as host:
        made = (await host.hear("mapping"))["mapping"]
        assert made == {"protocol": protocol, "host": WAN, "port": PORT, "lease_s": 600}
        run("ip", "netns", "exec", home.outside, sys.executable, "-c", _SAY, WAN, str(made["port"]))
        assert (await host.hear("datagram"))["text"] == "hello"
        host.tell("stop")
        await host.hear("stopped")
        assert str(PORT) not in home.redirects()


async def test_all_together_make_one_way_in_and_tell_what_each_answered(home: Home) -> None:
    home.start()
    for _ in range(ATTEMPTS):
        async with mapping(home, "pcp", "nat-pmp", "upnp") as host:
            await host.hear("mapping")
            told = await host.answers()
            if {one["outcome"] for one in told} == {"Outcome.OK"}:
                assert {one["external"] for one in told} == {WAN}
                assert all(0 < one["latency_s"] < 2 for one in told)
                assert (await host.facts())["gateway"] == LAN
                assert home.redirects().count("dnat") == 1
            host.tell("stop")
            await host.hear("stopped")
        assert home.redirects().count("dnat") == 0
        if {one["outcome"] for one in told} == {"Outcome.OK"}:
            return
    pytest.fail(f"not all answered, whenever they were asked: {told}")


async def test_without_the_other_two_upnp_is_found(home: Home) -> None:
    home.start(natpmp=False)
    async with mapping(home, "pcp", "nat-pmp", "upnp") as host:
        assert (await host.hear("mapping"))["mapping"]["protocol"] == "upnp"


@pytest.mark.parametrize("protocol", ["pcp", "nat-pmp", "upnp"])
async def test_a_router_that_starts_again_is_asked_again(home: Home, protocol: str) -> None:
    home.start()
    async with mapping(home, protocol) as host:
        await host.hear("mapping")
        home.stop()
        assert str(PORT) not in home.redirects()
        while not [one for one in (await host.facts())["protocols"] if one["outcome"] == "Outcome.SILENT"]:
            await asyncio.sleep(0)
        home.start()
        async with asyncio.timeout(20):
            while str(PORT) not in home.redirects():
                await asyncio.sleep(0)


async def test_a_router_that_says_it_started_again_is_not_left_waiting_for_the_next_check(home: Home) -> None:
    home.start()
    async with mapping(home, "pcp", checks="no") as host:
        await host.hear("mapping")
        home.stop()
        home.start()
        async with asyncio.timeout(20):
            while str(PORT) not in home.redirects():
                await asyncio.sleep(0)


@pytest.mark.parametrize("version", ["force_igd_desc_v1=yes", "force_igd_desc_v1=no"])
async def test_a_port_another_host_has_is_left_to_it(home: Home, version: str) -> None:
    home.start(more=f"secure_mode=no\n{version}")
    run("ip", "netns", "exec", home.host, sys.executable, "-c", _MAP_FOR_ANOTHER)
    assert f"dnat ip to {OTHER}:{PORT}" in home.redirects()
    async with mapping(home, "upnp") as host:
        made = (await host.hear("mapping"))["mapping"]
        assert made["port"] != PORT
        assert f"dnat ip to {HOST}:{PORT}" in home.redirects()
        assert f"dnat ip to {OTHER}:{PORT}" in home.redirects()
        run("ip", "netns", "exec", home.outside, sys.executable, "-c", _SAY, WAN, str(made["port"]))
        assert (await host.hear("datagram"))["text"] == "hello"
        host.tell("stop")
        await host.hear("stopped")
        assert f"dnat ip to {HOST}:" not in home.redirects()
        assert f"dnat ip to {OTHER}:{PORT}" in home.redirects()


async def test_with_no_protocol_on_the_router_each_is_said_not_to_answer(home: Home) -> None:
    async with mapping(home, "pcp", "nat-pmp", "upnp") as host:
        async with asyncio.timeout(20):
            while {one["outcome"] for one in (await host.facts())["protocols"]} != {"Outcome.SILENT"}:
                await asyncio.sleep(0)
