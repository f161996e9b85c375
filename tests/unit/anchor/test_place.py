"""What names an anchor, and which it may be without encryption."""

from __future__ import annotations

import pytest

from cis.anchor.place import AnchorPlace, authority_of, check_url
from cis.errors import UsageError


@pytest.mark.parametrize(
    "url",
    [
        "https://anchor.example.net",
        "https://anchor.example.net:8443",
        "https://anchor.example.net/behind/a/path",
        "https://[2001:db8::1]:8443",
        "http://127.0.0.1:7679",
        "http://localhost:7679",
        "http://[::1]:7679",
        "http://192.168.1.7:7679",
        "http://203.0.113.1:7679",
    ],
)
def test_these_name_an_anchor(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "anchor.example.net",
        "ftp://anchor.example.net",
        "https://",
        "https://anchor.example.net:port",
        "https://anchor.example.net:99999",
        "https://user:password@anchor.example.net",
        "https://anchor.example.net/?token=x",
        "http://anchor.example.net",
        "http://8.8.8.8",
    ],
)
def test_these_do_not_or_would_show_the_token_on_the_internet(url: str) -> None:
    with pytest.raises(UsageError):
        check_url(url)


def test_the_authority_is_what_http_states_as_host() -> None:
    assert authority_of("https://Anchor.Example.net") == "anchor.example.net"
    assert authority_of("https://anchor.example.net:443/x") == "anchor.example.net"
    assert authority_of("https://anchor.example.net:8443") == "anchor.example.net:8443"
    assert authority_of("http://[::1]:7679") == "[::1]:7679"


def test_a_token_is_not_shown() -> None:
    assert "secret" not in repr(AnchorPlace("https://anchor.example.net", "secret"))
