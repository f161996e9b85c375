"""PCP, NAT-PMP and the search, spoken with a router on loopback; and where the router is."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cis.reach.portmap import gateway as finding
from cis.reach.portmap import ssdp
from cis.reach.portmap.datagrams import WAITS_S, ask
from cis.reach.portmap.gateway import Gateway
from cis.reach.portmap.natpmp import NatPmp
from cis.reach.portmap.pcp import Pcp
from cis.reach.portmap.values import NoAnswer, Outcome, Refused

HERE = Gateway("127.0.0.1", "127.0.0.1")
PORT = 7677
OUTER = bytes(10) + b"\xff\xff" + bytes([44, 0, 0, 30])
Reply = Callable[[bytes], bytes | None]


class Router(asyncio.DatagramProtocol):
    """Answers by a function, or not at all, and keeps what it was asked."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.asked: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked.append(data)
        answer = self.reply(data)
        if answer is not None:
            self._transport.sendto(answer, addr)


@asynccontextmanager
async def router(reply: Reply) -> AsyncIterator[tuple[Router, int]]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(lambda: Router(reply), local_addr=("127.0.0.1", 0))
    try:
        yield protocol, transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


class PcpServer:
    """Keeps one mapping by its nonce."""

    def __init__(self) -> None:
        self.epoch = 1000
        self.result = 0
        self.nonces: list[bytes | None] = []

    def __call__(self, data: bytes) -> bytes:
        lifetime = int.from_bytes(data[4:8], "big")
        if data[1] == 1 and not self.result:
            self.nonces.append(data[24:36] if lifetime else None)
        head = struct.pack(">BBBBII12x", 2, 0x80 | data[1], 0, self.result, lifetime, self.epoch)
        body = data[24:42] + struct.pack(">H", 9000 if lifetime else 0) + OUTER if data[1] else b""
        return head + body


async def test_pcp_maps_renews_under_the_same_nonce_and_removes() -> None:
    server = PcpServer()
    async with router(server) as (seen, at):
        client = Pcp(HERE, PORT, server_port=at)
        await client.probe()
        assert server.nonces == []
        mapping = await client.map(PORT)
        assert mapping.external == ("44.0.0.30", 9000)
        await client.map(mapping.port)
        nonce, again = server.nonces
        assert nonce == again
        assert nonce != bytes(12)
        assert seen.asked[-1][42:44] == struct.pack(">H", 9000)
        await client.release()
        assert server.nonces == [nonce, nonce, None]


async def test_a_pcp_router_that_started_again_has_lost_the_mapping() -> None:
    server, now = PcpServer(), [0.0]
    async with router(server) as (_, at):
        client = Pcp(HERE, PORT, server_port=at, clock=lambda: now[0])
        await client.map(PORT)
        now[0], server.epoch = 60.0, 1060
        assert await client.alive()
        now[0], server.epoch = 120.0, 3
        assert not await client.alive()


@pytest.mark.parametrize("result", [0, 2])
async def test_a_pcp_answer_under_another_nonce_is_no_answer(result: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cis.reach.portmap.datagrams.WAITS_S", (0.02,))
    server = PcpServer()
    server.result = result
    async with router(lambda data: server(data[:24] + bytes(12) + data[36:])) as (_, at):
        with pytest.raises(NoAnswer):
            await Pcp(HERE, PORT, server_port=at).map(PORT)


async def test_a_refusal_by_pcp_says_why() -> None:
    server = PcpServer()
    server.result = 2
    async with router(server) as (_, at):
        with pytest.raises(Refused, match="does not allow"):
            await Pcp(HERE, PORT, server_port=at).map(PORT)


class NatPmpServer:
    """Keeps one mapping by its port."""

    def __init__(self) -> None:
        self.epoch = 1000
        self.address = [44, 0, 0, 30]
        self.mapped: list[int] = []

    def __call__(self, data: bytes) -> bytes:
        if data[1] == 0:
            return struct.pack(">BBHI4B", 0, 128, 0, self.epoch, *self.address)
        _, _, _, internal, wanted, lifetime = struct.unpack(">BBHHHI", data)
        self.mapped = [internal] if lifetime else []
        return struct.pack(">BBHIHHI", 0, 129, 0, self.epoch, internal, wanted, lifetime)


async def test_nat_pmp_maps_and_removes() -> None:
    server = NatPmpServer()
    async with router(server) as (_, at):
        client = NatPmp(HERE, PORT, server_port=at)
        assert await client.probe() == "44.0.0.30"
        assert server.mapped == []
        assert (await client.map(PORT)).external == ("44.0.0.30", PORT)
        assert server.mapped == [PORT]
        await client.release()
        assert server.mapped == []


async def test_a_nat_pmp_router_that_started_again_or_has_another_address_is_asked_anew() -> None:
    server, now = NatPmpServer(), [0.0]
    async with router(server) as (_, at):
        client = NatPmp(HERE, PORT, server_port=at, clock=lambda: now[0])
        await client.map(PORT)
        assert await client.alive()
        server.address = [44, 0, 0, 31]
        assert not await client.alive()
        await client.map(PORT)
        now[0], server.epoch = 60.0, 2
        assert not await client.alive()


async def test_a_lost_datagram_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cis.reach.portmap.datagrams.WAITS_S", (0.02, 0.02, 5.0))
    assert list(WAITS_S) == sorted(WAITS_S)
    assert sum(WAITS_S) < 2
    async with router(lambda _: b"yes" if len(seen.asked) == 3 else None) as (seen, at):
        assert await ask("127.0.0.1", ("127.0.0.1", at), b"?", lambda data: data) == b"yes"
        assert seen.asked == [b"?"] * 3


async def test_a_closed_port_is_known_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cis.reach.portmap.datagrams.WAITS_S", (100.0,))
    async with router(lambda _: None) as (_, at):
        pass
    async with asyncio.timeout(5):
        with pytest.raises(NoAnswer, match="does not listen"):
            await ask("127.0.0.1", ("127.0.0.1", at), b"?", lambda data: data)


def _search_answer(data: bytes) -> bytes | None:
    assert data.startswith(b"M-SEARCH * HTTP/1.1\r\n")
    kind = data.split(b"\r\nST: ")[1].strip()
    return b"HTTP/1.1 200 OK\r\nST: %s\r\nLOCATION: http://127.0.0.1:5/root.xml\r\n\r\n" % kind


async def test_the_gateways_answer_ends_the_search_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with router(_search_answer) as (_, at):
        monkeypatch.setattr(ssdp, "GROUP", ("127.0.0.1", at))
        monkeypatch.setattr(ssdp, "_DEADLINE_S", 100.0)
        monkeypatch.setattr(ssdp, "_OTHERS_S", 100.0)
        async with asyncio.timeout(5):
            assert [str(found) for found in await ssdp.search("127.0.0.1", "127.0.0.1")] == [
                "http://127.0.0.1:5/root.xml"
            ]


@pytest.mark.parametrize("gateway", ["192.168.1.1", None])
async def test_another_hosts_answer_does_not_count(gateway: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    async with router(_search_answer) as (seen, at):
        monkeypatch.setattr(ssdp, "GROUP", ("127.0.0.1", at))
        monkeypatch.setattr(ssdp, "_DEADLINE_S", 0.1)
        with pytest.raises(NoAnswer):
            await ssdp.search("127.0.0.1", gateway)
        assert seen.asked


_PROC = """Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
wlan0	00000000	0101A8C0	0003	0	0	600	00000000	0	0	0
eth0	00000000	FE01A8C0	0003	0	0	100	00000000	0	0	0
tun0	00000000	00000000	0001	0	0	50	00000000	0	0	0
eth0	0001A8C0	00000000	0001	0	0	100	00FFFFFF	0	0	0
"""
_MACOS = """   route to: default
destination: default
       mask: default
    gateway: 192.168.1.254
  interface: en0
"""
_WINDOWS = """
Network Destination        Netmask          Gateway       Interface  Metric
          0.0.0.0          0.0.0.0      192.168.1.1      192.168.1.7     55
          0.0.0.0          0.0.0.0    192.168.1.254      192.168.1.8     35
          0.0.0.0          0.0.0.0         On-link       10.8.0.2         5
"""


def test_the_gateway_is_that_of_the_default_route_with_the_lowest_metric() -> None:
    assert finding.gateway_in_proc(_PROC) == "192.168.1.254"
    assert finding.gateway_in_unix(_MACOS) == "192.168.1.254"
    assert finding.gateway_in_windows(_WINDOWS) == "192.168.1.254"


@pytest.mark.parametrize(
    "text", ["", "x", "a\nb c\n", "i\nwlan0 00000000 zz 0003 0 0 600 00000000", "gateway: link#4\n"]
)
def test_no_gateway_is_made_up(text: str) -> None:
    assert finding.gateway_in_proc(text) is None
    assert finding.gateway_in_unix(text) is None
    assert finding.gateway_in_windows(text) is None


def test_the_words_for_outcomes_are_those_netcheck_prints() -> None:
    assert [outcome.value for outcome in Outcome] == ["ok", "refused", "no answer", "not asked"]
