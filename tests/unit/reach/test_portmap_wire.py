"""The datagrams of PCP, NAT-PMP and SSDP, and the URLs and documents of UPnP: what is read of them and what is not."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cis.reach.portmap import natpmp, pcp, ssdp
from cis.reach.portmap.document import parse
from cis.reach.portmap.epoch import Epoch
from cis.reach.portmap.links import link, may_be_router
from cis.reach.portmap.soap import SERVICES_MAX, SoapFault, result_of, services_in
from cis.reach.portmap.values import Mapping, PortmapFacts, ProtocolFacts, Refused, public

NONCE = bytes(range(12))
OUTER = bytes(10) + b"\xff\xff" + bytes([44, 0, 0, 30])


def test_a_map_request_is_the_one_of_rfc_6887() -> None:
    request = pcp.encode_map("192.168.1.7", NONCE, 7677, 7678, 600)
    assert len(request) == 60
    assert request[:8] == bytes([2, 1, 0, 0]) + (600).to_bytes(4, "big")
    assert request[8:24] == bytes(10) + b"\xff\xff" + bytes([192, 168, 1, 7])
    assert request[24:40] == NONCE + bytes([17, 0, 0, 0])
    assert request[40:44] == struct.pack(">HH", 7677, 7678)


def _pcp(result: int = 0, code: int = 0x81, version: int = 2, body: bytes = b"") -> bytes:
    return struct.pack(">BBBBII12x", version, code, 0, result, 600, 99) + body


def test_a_map_answer_is_read_if_it_answers_this_request_alone() -> None:
    body = NONCE + bytes([17, 0, 0, 0]) + struct.pack(">HH", 7677, 9000) + OUTER
    answer = pcp.decode_answer(_pcp(body=body), 1)
    assert answer == pcp.Answer(0, 600, 99, body)
    assert pcp.decode_mapped(body, NONCE, 7677) == pcp.Mapped("44.0.0.30", 9000)
    assert pcp.decode_mapped(body, bytes(12), 7677) is None
    assert pcp.decode_mapped(body, NONCE, 7676) is None
    assert pcp.decode_mapped(body[:-1], NONCE, 7677) is None
    assert pcp.decode_answer(_pcp(body=body), 0) is None


def test_a_router_that_speaks_nat_pmp_alone_or_another_pcp_is_a_refusal() -> None:
    with pytest.raises(Refused, match="NAT-PMP"):
        pcp.decode_answer(bytes([0, 0x81, 0, 1, 0, 0, 0, 9]), 1)
    with pytest.raises(Refused, match="version 3"):
        pcp.decode_answer(_pcp(1, version=3), 1)


def test_nat_pmp_messages_are_those_of_rfc_6886() -> None:
    assert natpmp.encode_external() == b"\0\0"
    assert natpmp.encode_map(7677, 7678, 600) == struct.pack(">BBHHHI", 0, 1, 0, 7677, 7678, 600)
    external = struct.pack(">BBHI4B", 0, 128, 0, 5, 44, 0, 0, 30)
    assert natpmp.decode_external(external) == natpmp.External(5, "44.0.0.30")
    mapped = struct.pack(">BBHIHHI", 0, 129, 0, 5, 7677, 9000, 600)
    assert natpmp.decode_mapped(mapped, 7677) == natpmp.Mapped(5, 9000, 600)
    assert natpmp.decode_mapped(mapped, 1) is None
    assert natpmp.decode_mapped(external, 7677) is None
    with pytest.raises(Refused, match="switched off"):
        natpmp.decode_mapped(struct.pack(">BBHI", 0, 129, 2, 5), 7677)


def _answered(location: str, kind: str = "urn:schemas-upnp-org:device:InternetGatewayDevice:1") -> bytes:
    return f"HTTP/1.1 200 OK\r\nLocation: {location}\r\nST: {kind}\r\n\r\n".encode()


def test_an_answer_to_the_search_counts_if_its_description_is_at_the_host_that_answered() -> None:
    found = ssdp.decode_answer(_answered("http://192.168.1.1:5000/root.xml"), "192.168.1.1")
    assert str(found) == "http://192.168.1.1:5000/root.xml"
    assert ssdp.decode_answer(_answered("http://192.168.1.1/"), "192.168.1.2") is None
    assert ssdp.decode_answer(_answered("http://192.168.1.1/", "upnp:rootdevice"), "192.168.1.1") is None
    assert ssdp.decode_answer(b"NOTIFY * HTTP/1.1\r\n\r\n", "192.168.1.1") is None


@pytest.mark.parametrize(
    "url",
    [
        "https://192.168.1.1/",
        "ftp://192.168.1.1/",
        "//192.168.1.1/",
        "http://192.168.1.1@10.0.0.1/",
        "http://a@192.168.1.1/",
        "http://router/",
        "http://192.168.1.1:0/",
        "http://192.168.1.1:99999/",
        "http://192.168.1.1:x/",
        "http://192.168.1.1/a b",
        "http://192.168.1.1/a\r\nHost: x",
        "http://192.168.1.1/" + "a" * 600,
        "http://[::1",
        "http://192.168.1.11/",
        "",
    ],
)
def test_no_other_url_is_followed(url: str) -> None:
    assert link(url, "192.168.1.1") is None


@pytest.mark.parametrize("host", ["127.0.0.1", "169.254.169.254", "8.8.8.8", "100.64.0.1", "239.1.1.1", "::1", "x"])
def test_no_such_address_is_that_of_a_homes_router(host: str) -> None:
    assert not may_be_router(host)


def test_a_private_address_can_be_that_of_a_homes_router() -> None:
    assert all(may_be_router(host) for host in ("10.0.0.1", "172.31.0.1", "192.168.178.1"))


def test_the_services_of_a_description_are_few_and_the_best_first() -> None:
    start = link("http://192.168.1.1:80/d/root.xml", "192.168.1.1")
    assert start is not None
    services = "".join(
        f"<service><serviceType>urn:schemas-upnp-org:service:{kind}</serviceType><controlURL>{url}</controlURL></service>"
        for kind, url in [
            ("WANPPPConnection:1", "/ppp"),
            ("Layer3Forwarding:1", "/forward"),
            ("WANIPConnection:2", "ip2"),
            *[("WANIPConnection:1", f"http://192.168.1.1:81/{number}") for number in range(9)],
        ]
    )
    found = services_in(parse(f"<root>{services}</root>".encode()), start)
    assert len(found) == SERVICES_MAX
    assert [str(service.control) for service in found[:2]] == ["http://192.168.1.1:80/d/ip2", "http://192.168.1.1:81/0"]


def test_a_base_url_counts_if_it_is_the_same_host() -> None:
    start = link("http://192.168.1.1:80/d/root.xml", "192.168.1.1")
    assert start is not None
    kind = "urn:schemas-upnp-org:service:WANIPConnection:1"
    service = f"<service><serviceType>{kind}</serviceType><controlURL>c</controlURL></service>"
    for base, expected in [("http://192.168.1.1:99/e/", ":99/e/c"), ("http://10.0.0.1/e/", ":80/d/c")]:
        root = parse(f"<root><URLBase>{base}</URLBase>{service}</root>".encode())
        assert str(services_in(root, start)[0].control).endswith(expected)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<!DOCTYPE a><a/>", "document type"),
        ("<a>" + "<b/>" * 3000 + "</a>", "too many"),
        ("<a>" * 40 + "</a>" * 40, "too many"),
        ("<a>" + " " * 70_000 + "</a>", "too long"),
        ("<a><b></a>", "cannot be read"),
    ],
)
def test_a_document_beyond_its_bounds_is_refused(text: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        parse(text.encode())


def test_of_a_long_text_the_beginning_is_kept() -> None:
    assert parse(b"<a>" + b"x&amp;" * 5000 + b"</a>").text == "x&" * 512


def test_an_answer_counts_if_it_is_the_actions_and_no_fault() -> None:
    assert result_of("Do", 200, b"<e><u:DoResponse><New>1</New></u:DoResponse></e>").leaf("New") == "1"
    fault = b"<e><s:Fault><errorCode> 718 </errorCode></s:Fault></e>"
    for status in (200, 500):
        with pytest.raises(SoapFault) as caught:
            result_of("Do", status, fault)
        assert caught.value.code == 718
    for status, data in [(500, b"<e><DoResponse/></e>"), (200, b"<e><OtherResponse/></e>"), (404, b""), (200, b"")]:
        with pytest.raises(Refused):
            result_of("Do", status, data)


def test_an_epoch_that_moves_with_our_clock_is_no_restart() -> None:
    epoch = Epoch()
    assert not epoch.restarted(1000, 0.0)
    assert not epoch.restarted(1600, 600.0)
    assert not epoch.restarted(1599, 600.0)
    assert not epoch.restarted(2230, 1210.0)


@pytest.mark.parametrize(("later", "now"), [(3, 60.0), (1000, 60.0), (1200, 60.0), (998, 0.0)])
def test_an_epoch_that_goes_back_or_stands_still_or_jumps_is_a_restart(later: int, now: float) -> None:
    epoch = Epoch()
    epoch.restarted(1000, 0.0)
    assert epoch.restarted(later, now)
    assert not epoch.restarted(later + 60, now + 60)


def test_only_a_public_address_counts_as_the_outer_one() -> None:
    assert public("44.0.0.30") == "44.0.0.30"
    assert [public(text) for text in ("10.0.0.1", "100.64.0.1", "0.0.0.0", "224.0.0.1", "", "x" * 99)] == [None] * 6
    assert Mapping("upnp", None, 7677, 600).external == 7677
    above = PortmapFacts("192.168.1.1", (ProtocolFacts("upnp", external="100.64.0.1"),), None)
    assert above.nat_above
    assert not PortmapFacts("192.168.1.1", (ProtocolFacts("upnp"),), None).nat_above


@given(st.binary(max_size=1200), st.integers(0, 1))
def test_no_datagram_breaks_a_reader(data: bytes, operation: int) -> None:
    for start in (b"", _pcp(), bytes([2, 0x81, 0, 0]), bytes([0, 0x81, 0, 0]), _answered("http://192.168.1.1/")):
        with suppress(Refused):
            pcp.decode_answer(start + data, operation)
        with suppress(Refused):
            natpmp.decode_external(start + data)
        with suppress(Refused):
            natpmp.decode_mapped(start + data, 7677)
        pcp.decode_mapped(start + data, NONCE, 7677)
        ssdp.decode_answer(start + data, "192.168.1.1")


@given(st.text(max_size=600), st.text(max_size=600))
def test_no_url_breaks_the_reader(url: str, reference: str) -> None:
    assert link(url, "192.168.1.1") is None or "192.168.1.1" in url
    start = link("http://192.168.1.1/a", "192.168.1.1")
    assert start is not None
    joined = start.join(reference)
    assert joined is None or joined.host == "192.168.1.1"


@given(
    st.lists(st.sampled_from(["<a>", "</a>", "<b/>", "x", "&amp;", "&x;", "<!DOCTYPE a>", "<![CDATA[", "]]>", "\0"]))
)
def test_no_document_breaks_the_reader(parts: list[str]) -> None:
    with suppress(Refused):
        assert parse("".join(parts).encode()).name in {"a", "b"}
