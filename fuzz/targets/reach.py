"""What STUN and TURN servers, routers and peers to be say before anybody is authenticated, or never will be."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from typing import Any

from aioice import stun

from cis.anchor.stun import answer_to
from cis.errors import PeerFault
from cis.reach.names import Address
from cis.reach.portmap import natpmp, pcp, ssdp
from cis.reach.portmap.document import parse
from cis.reach.portmap.links import Link
from cis.reach.portmap.soap import result_of, services_in
from cis.reach.portmap.values import Refused
from cis.reach.stun_client import binding_request, read_message, reflexive_of
from cis.reach.turn_client import Bytestream, Datagrams
from cis.wire.signals import Answer, More, Offer, decode_signal
from fuzz.target import Target, on_loop, script, steps_in
from fuzz.targets.wire import golden
from tests.unit.reach.internet import Host, Internet, Socket

_SERVER = ("192.0.2.3", 3478)
_NONCE = b"n" * 12


def stuns(data: bytes) -> None:
    """A STUN message: a server's answer to us, or a stranger's request to our anchor, which amplifies nothing."""
    with suppress(PeerFault):
        reflexive_of(read_message(data), 0.0)
    for host in ("192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "fe80::1%eth0"):
        answer = answer_to(data, host, 40_000)
        assert answer is None or len(answer) <= len(data) + 32


class _Strict(Host):
    """A host whose endpoint lets nothing pass but what is documented."""

    def _hand_over(self, data: bytes, source: Address, carrier: Socket) -> None:
        assert self.on_stun is not None
        with suppress(PeerFault):
            self.on_stun(data, source, carrier)


def searches(data: bytes) -> None:
    """A search for a path: candidates of any kind, and datagrams with and without the right names."""
    on_loop(_search(data))


async def _search(data: bytes) -> None:
    internet = Internet()
    one, two = _Strict(internet), Host(internet)
    session, other = one.session(controlling=True), two.session(controlling=False)
    named = f"{session.ufrag}:{other.ufrag}".encode()
    for number, raw in steps_in(data):
        match number % 4:
            case 0:
                one._on_datagram(raw, _SERVER)
            case 1:
                one._on_datagram(_named(raw, named, session.password.encode()), _SERVER)
            case _:
                with suppress(PeerFault):
                    match decode_signal(raw):
                        case Offer() | Answer() as offer:
                            session.peer(offer.ufrag, offer.password, offer.candidates)
                        case More(candidates=candidates, last=last):
                            session.more(candidates, last=last)
    session.report()
    session.close()
    other.close()


def _named(raw: bytes, username: bytes, password: bytes) -> bytes:
    """Return a request with these attributes that names a session and bears its integrity."""
    try:
        request = stun.parse_message(raw)
    except Exception:  # noqa: BLE001 - what aioice cannot read is sent as it is
        return raw
    request.message_class, request.message_method = stun.Class.REQUEST, stun.Method.BINDING
    request.attributes["USERNAME"] = username.decode()
    try:
        request.add_message_integrity(password)
        return bytes(request)
    except Exception:  # noqa: BLE001 - what aioice cannot write is sent as it was
        return raw


class _Transport:
    """Takes what is sent to a TURN server."""

    def __getattr__(self, _: str) -> Any:  # noqa: ANN401 - whatever aioice calls
        return lambda *_, **__: None

    def get_extra_info(self, _: str) -> tuple[str, int]:
        return _SERVER


def turns(data: bytes) -> None:
    """What a TURN server sends, as datagrams and as a stream cut anywhere."""
    on_loop(_serve(data))


async def _serve(data: bytes) -> None:
    account = (_SERVER, "user", "secret", 600, 600)
    for client in (Datagrams(*account), Bytestream(*account)):
        client.connection_made(_Transport())  # type: ignore[arg-type]  # as much of one as is used
        client.receiver = _Receiver()  # type: ignore[assignment]  # as much of one as is used
        client.channel_to_peer[0x4000] = ("198.51.100.9", 9)
        for number, raw in steps_in(data):
            if isinstance(client, Datagrams):
                client.datagram_received(raw, _SERVER)
            else:
                client.data_received(raw[: number % 64])
                client.data_received(raw[number % 64 :])


class _Receiver:
    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        assert len(address) == 2
        assert isinstance(data, bytes)


def routers(data: bytes) -> None:
    """Answers of a home's router, or of who says to be one: PCP, NAT-PMP, SSDP and UPnP's XML."""
    for number, raw in steps_in(data):
        with suppress(Refused):
            match number % 5:
                case 0:
                    for operation in (0, 1):
                        answer = pcp.decode_answer(raw, operation)
                        if answer is not None:
                            pcp.decode_mapped(answer.body, _NONCE, 7677)
                case 1:
                    natpmp.decode_external(raw)
                    natpmp.decode_mapped(raw, 7677)
                case 2:
                    found = ssdp.decode_answer(raw, "192.168.1.1")
                    assert found is None or found.host == "192.168.1.1"
                case 3:
                    for service in services_in(parse(raw), _link()):
                        assert service.control.host == _link().host
                case _:
                    result_of("GetExternalIPAddress", 200 if number & 8 else 500, raw).leaf("NewExternalIPAddress")


@cache
def _link() -> Link:
    return Link("192.168.1.1", 5000, "/root.xml")


def _stun_seeds() -> Iterable[bytes]:
    yield bytes(binding_request((True, True)))
    response = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE)
    response.attributes["XOR-MAPPED-ADDRESS"] = ("192.0.2.1", 5)
    response.attributes["SOFTWARE"] = "name"
    response.attributes["ERROR-CODE"] = (401, "Unauthorized")
    yield bytes(response)
    six = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    six.attributes["XOR-PEER-ADDRESS"] = ("2001:db8::1", 5)
    six.attributes["PRIORITY"] = 7
    six.attributes["USERNAME"] = "a:b"
    six.add_message_integrity(b"key")
    yield bytes(six)


def _search_seeds() -> Iterable[bytes]:
    signals = golden("cis.wire.signals")
    plain = [*_stun_seeds()]
    yield script(*((2, signal) for signal in signals), *((number % 2, one) for number, one in enumerate(plain)))
    yield script(*((1, one) for one in plain), *((2, signal) for signal in signals))


def _turn_seeds() -> Iterable[bytes]:
    indication = stun.Message(stun.Method.DATA, stun.Class.INDICATION)
    indication.attributes["DATA"] = b"data"
    indication.attributes["XOR-PEER-ADDRESS"] = ("192.0.2.7", 9)
    channel = b"\x40\x00\x00\x04data"
    yield script((7, bytes(indication)), (3, channel), (1, channel + b"\x40\x01\x00\x01x\0\0\0"), (9, channel))
    yield script(*((5, one) for one in _stun_seeds()))


def _router_seeds() -> Iterable[bytes]:
    yield script(
        (
            0,
            b"\2\x81\0\0"
            + bytes(4)
            + bytes(16)
            + _NONCE
            + b"\x11\0\0\0\x1d\xfd\x1d\xfd"
            + bytes(10)
            + b"\xff\xff\xc6\x33\x64\1",
        )
    )
    yield script((1, b"\0\x80\0\0\0\0\0\1\xc6\x33\x64\1"), (1, b"\0\x81\0\0\0\0\0\1\x1d\xfd\x1d\xfd\0\0\2\x58"))
    lines = (
        "HTTP/1.1 200 OK",
        "ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1",
        "LOCATION: http://192.168.1.1:5000/root.xml",
    )
    yield script((2, "\r\n".join((*lines, "", "")).encode()))
    service = (
        b"<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>"
        b"<controlURL>/ctl</controlURL></service>"
    )
    yield script(
        (3, b'<?xml version="1.0"?><root><URLBase>http://192.168.1.1:5000</URLBase><a:b>' + service + b"</a:b></root>")
    )
    said = b"<s:Envelope><s:Body><u:GetExternalIPAddressResponse><NewExternalIPAddress>198.51.100.1"
    ends = b"</NewExternalIPAddress></u:GetExternalIPAddressResponse></s:Body></s:Envelope>"
    yield script((12, said + ends), (4, b"<a><Fault><errorCode>718</errorCode></Fault></a>"), (3, b"<a>" * 3000))


TARGETS = (
    Target("reach.stuns", stuns, _stun_seeds, bytes_max=1400),
    Target("reach.searches", searches, _search_seeds),
    Target("reach.turns", turns, _turn_seeds),
    Target("reach.routers", routers, _router_seeds, bytes_max=12_000),
)
