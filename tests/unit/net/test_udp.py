"""What the socket does when the kernel says no."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from cis.net.limits import Drop, EndpointCounters
from cis.net.udp import UdpSocket, unmapped

THERE = ("127.0.0.1", 9)


class _Kernel:
    """Takes datagrams until told otherwise; ``refusals`` are raised first, in order, after taking some."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.refusals: list[tuple[int, OSError]] = []
        self.gso = True
        self.judge: Callable[[list[bytes]], None] = lambda datagrams: None

    def send(self, datagrams: list[bytes], address: tuple[str, int]) -> int:
        if self.refusals:
            taken, error = self.refusals.pop(0)
            self.taken += datagrams[:taken]
            error.datagrams_sent = taken
            raise error
        self.judge(datagrams)
        self.taken += datagrams
        return len(datagrams)

    def disable_gso(self) -> None:
        self.gso = False


@pytest.fixture
async def udp() -> AsyncIterator[UdpSocket]:
    socket = await UdpSocket.bind("127.0.0.1", 0, lambda received: None, EndpointCounters())
    yield socket
    socket.close()


@pytest.fixture
def kernel(udp: UdpSocket, monkeypatch: pytest.MonkeyPatch) -> _Kernel:
    kernel = _Kernel()
    monkeypatch.setattr(udp, "_batched", kernel)
    return kernel


async def test_a_closed_socket_gives_its_port_up_at_once() -> None:
    first = await UdpSocket.bind("127.0.0.1", 0, lambda received: None, EndpointCounters())
    port = first.address[1]
    first.close()
    again = await UdpSocket.bind("127.0.0.1", port, lambda received: None, EndpointCounters())
    again.close()
    assert first.send([b"late"], THERE) is None  # whoever still holds the closed one sends into nothing


async def test_what_a_full_socket_did_not_take_follows_in_order(udp: UdpSocket, kernel: _Kernel) -> None:
    kernel.refusals = [(1, BlockingIOError())]
    writable = asyncio.get_running_loop().create_future()
    assert udp.send([b"1", b"2"], THERE) is None
    assert udp.congested
    assert udp.send([b"3"], THERE) is None
    assert kernel.taken == [b"1"]
    udp.when_writable(lambda: writable.set_result(None))
    await writable
    assert kernel.taken == [b"1", b"2", b"3"]
    assert not udp.congested


async def test_what_waits_for_a_full_socket_is_bounded(udp: UdpSocket, kernel: _Kernel) -> None:
    """Answers to strangers are not held back by congestion: what is too much is lost, as on any network."""
    kernel.refusals = [(0, BlockingIOError())]
    for number in range(10_000):
        assert udp.send([b"%d" % number], THERE) is None
    assert 1000 <= len(udp._waiting) <= 5000
    assert udp._counters.dropped[Drop.UNSENDABLE] == 10_000 - len(udp._waiting)


async def test_an_oversized_probe_is_lost_and_the_rest_is_sent(udp: UdpSocket, kernel: _Kernel) -> None:
    kernel.refusals = [(1, OSError(errno.EMSGSIZE, "too long"))]
    assert udp.send([b"1", b"probe", b"2"], THERE) is None
    assert kernel.taken == [b"1", b"2"]


async def test_an_interface_without_segmentation_is_sent_single_datagrams(udp: UdpSocket, kernel: _Kernel) -> None:
    def no_gso(datagrams: list[bytes]) -> None:
        if kernel.gso and len(datagrams) > 1:
            raise OSError(errno.EIO, "no checksum offload")

    kernel.judge = no_gso
    assert udp.send([b"1", b"2", b"3"], THERE) is None
    assert not kernel.gso
    assert kernel.taken == [b"1", b"2", b"3"]


async def test_an_unreachable_address_is_reported_and_segmentation_kept(udp: UdpSocket, kernel: _Kernel) -> None:
    def unreachable(datagrams: list[bytes]) -> None:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    kernel.judge = unreachable
    error = udp.send([b"1", b"2"], THERE)
    assert error is not None
    assert error.errno == errno.ENETUNREACH
    assert kernel.gso
    assert udp._counters.dropped[Drop.UNSENDABLE] == 2


async def test_closing_twice_or_congested_is_harmless(udp: UdpSocket, kernel: _Kernel) -> None:
    kernel.refusals = [(0, BlockingIOError()), (0, BlockingIOError())]
    udp.send([b"1"], THERE)
    udp.close()
    udp.close()
    assert kernel.taken == []


async def test_addresses_are_mapped_for_a_dual_stack_socket_and_back() -> None:
    both = await UdpSocket.bind("::", 0, lambda received: None, EndpointCounters())
    assert await both.resolve("192.0.2.1", 5) == ("::ffff:192.0.2.1", 5, 0, 0)
    assert unmapped(("::ffff:192.0.2.1", 5, 0, 0)) == ("192.0.2.1", 5)
    assert unmapped(("2001:db8::1", 5, 0, 0)) == ("2001:db8::1", 5)
    both.close()


async def test_a_name_is_dialled_where_the_system_has_a_route(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a name of both families a machine without an IPv6 route is told the IPv4 address first (RFC 6724)."""
    loop = asyncio.get_running_loop()
    both = [("192.0.2.1", 9), ("2001:db8::1", 9, 0, 0)]

    async def resolve(host: str, port: int, *, family: int = 0, **_: object) -> list[tuple[object, ...]]:
        size = {int(socket.AF_INET): 2, int(socket.AF_INET6): 4}.get(family)
        return [(family, 0, 0, "", one) for one in both if len(one) == (size or len(one))]

    dual = await UdpSocket.bind("::", 0, lambda received: None, EndpointCounters())
    single = await UdpSocket.bind("127.0.0.1", 0, lambda received: None, EndpointCounters())
    with monkeypatch.context() as patched:
        patched.setattr(loop, "getaddrinfo", resolve)
        assert await dual.resolve("name.example", 9) == ("::ffff:192.0.2.1", 9, 0, 0)
        both.reverse()
        assert await dual.resolve("name.example", 9) == ("2001:db8::1", 9, 0, 0)
        assert await single.resolve("name.example", 9) == ("192.0.2.1", 9)
    dual.close()
    single.close()
