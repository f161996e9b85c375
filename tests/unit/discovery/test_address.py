"""Which addresses are dialled, and how endpoints are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cis.discovery.address import Source, dialable, join_endpoint, split_endpoint
from cis.errors import UsageError

NEVER = [
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "fd00:ec2::254",
    "100.100.100.200",
    "224.0.0.251",
    "ff02::fb",
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "255.255.255.255",
    "240.0.0.1",
]
PRIVATE = [
    "10.0.0.1",
    "172.16.5.4",
    "192.168.1.7",
    "100.64.0.1",
    "169.254.7.7",
    "fd12::1",
    "fec0::1",
]
PRIVATE += ["::ffff:192.168.1.7", "64:ff9b::c0a8:107"]
LOOPBACK = ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"]
PUBLIC = ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"]


@pytest.mark.parametrize("host", NEVER)
@pytest.mark.parametrize("source", Source)
def test_metadata_multicast_and_unspecified_addresses_are_never_dialled(host: str, source: Source) -> None:
    assert not dialable(host, source, allow_loopback=True)


@pytest.mark.parametrize("host", PRIVATE)
def test_private_addresses_are_dialled_only_when_their_source_can_know_them(host: str) -> None:
    allowed = {source for source in Source if dialable(host, source)}
    assert allowed == {Source.STATIC, Source.MDNS, Source.MEMBER}


@pytest.mark.parametrize("source", Source)
def test_a_link_local_address_is_dialled_by_the_interface_that_who_stands_on_it_names(source: Source) -> None:
    assert dialable("fe80::1%eth0", source) == (source in {Source.STATIC, Source.MDNS})
    assert not dialable("fe80::1", source)


@pytest.mark.parametrize("host", ["fd12::1%eth0", "::1%lo", "2606:4700::1111%eth0", "fe80::1%et h0", "fe80::1%\x1b[2J"])
def test_no_other_address_names_an_interface_and_no_interface_has_such_a_name(host: str) -> None:
    assert not dialable(host, Source.STATIC, allow_loopback=True)


@pytest.mark.parametrize("host", LOOPBACK)
@pytest.mark.parametrize("source", Source)
def test_loopback_is_dialled_only_when_told_so(host: str, source: Source) -> None:
    assert not dialable(host, source)
    assert dialable(host, source, allow_loopback=True)


@pytest.mark.parametrize("host", PUBLIC)
@pytest.mark.parametrize("source", Source)
def test_public_addresses_are_dialled_whoever_names_them(host: str, source: Source) -> None:
    assert dialable(host, source)


def test_a_host_name_is_not_an_address() -> None:
    assert not dialable("localhost", Source.STATIC, allow_loopback=True)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("server.example.net:7000", ("server.example.net", 7000)),
        ("server.example.net", ("server.example.net", 7677)),
        ("192.168.1.100:7677", ("192.168.1.100", 7677)),
        ("[fd12::1]:80", ("fd12::1", 80)),
        ("[fd12::1]", ("fd12::1", 7677)),
        ("fd12::1", ("fd12::1", 7677)),
    ],
)
def test_an_endpoint_is_read_as_written(text: str, endpoint: tuple[str, int]) -> None:
    assert split_endpoint(text) == endpoint
    assert split_endpoint(join_endpoint(*endpoint)) == endpoint


@pytest.mark.parametrize(
    "text",
    [
        *("", ":7677", "host:", "host:0", "host:65536", "host:port", "host:٣", "a:b:c"),
        *("[fd12::1", "[fd12::1]x", "[host]:1", "[]:1", "a b:1", "host..name", "http://host:1", "x/y"),
        *("256.1.1.1:5", "a" * 64 + ".net"),
    ],
)
def test_what_is_no_endpoint_is_refused_with_the_text(text: str) -> None:
    with pytest.raises(UsageError, match=r"write host:port|from 1 to 65535"):
        split_endpoint(text)


@given(st.text(max_size=60))
def test_any_text_is_an_endpoint_or_a_usage_error(text: str) -> None:
    try:
        host, port = split_endpoint(text)
    except UsageError:
        return
    assert host
    assert 0 < port < 65536


@given(st.text(max_size=60), st.sampled_from(Source))
def test_no_text_breaks_the_filter(text: str, source: Source) -> None:
    assert dialable(text, source) in (True, False)
