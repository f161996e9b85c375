"""The log: what it may say, what a word stands for, and that nothing a peer wrote disturbs a terminal."""

from __future__ import annotations

import logging

import pytest

from cis.api.logs import formatter
from cis.api.text import redacted
from cis.node.finding import Problems

DID = "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH"


def line(message: str, *, tells_all: bool = False, error: BaseException | None = None) -> str:
    exc_info = (type(error), error, error.__traceback__) if error is not None else None
    record = logging.LogRecord("cis.x", logging.WARNING, __file__, 1, message, (), exc_info)
    return formatter(tells_all=tells_all).format(record)


def failure(text: str) -> BaseException:
    """An error with a cause, as a defect met in work for one peer."""
    try:
        try:
            raise KeyError(text)
        except KeyError as cause:
            raise ExceptionGroup("work", [ValueError(text)]) from cause
    except ExceptionGroup as group:
        return group


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("192.168.1.7:7677: refused", "(address): refused"),
        ("could not reach 10.0.0.1.", "could not reach (address)."),
        ("[fe80::1%eth0]:7677 is silent", "(address) is silent"),
        ("from ::ffff:10.0.0.1, and ::1", "from (address), and (address)"),
        ("server.example.net:7677: gone", "(address): gone"),
        ("localhost:80", "(address)"),
        (f"{DID} left", "(did) left"),
        ("ticket cis1mf2wabcdefghij234567abcd used", "ticket (ticket) used"),
        ("key " + "ab" * 32, "key (key)"),
        ("key abcd-efgh-ijkl-mnop-qrst-uvwx-yz23", "key (key)"),
    ],
)
def test_addresses_dids_tickets_and_keys_are_words_in_the_log(text: str, told: str) -> None:
    assert redacted(text) == told
    assert told in line(text)
    assert text in line(text, tells_all=True)


@pytest.mark.parametrize(
    "text", ["workstation joined the cluster", "at 12:34:56", "cis 1.2.3", "/home/ana/.cis/config.toml:3: bad", "a:b"]
)
def test_names_times_versions_and_files_stay(text: str) -> None:
    assert redacted(text) == text


def test_what_cannot_be_reached_is_told_without_where_it_was_sought(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "cis"):
        Problems().note("home.example.net:7677", "no answer")
        Problems().note("mdns", "no network")
    assert "home.example.net" not in caplog.text
    assert [record.getMessage().endswith(("no answer", "mdns: no network")) for record in caplog.records] == [
        True,
        True,
    ]


def test_an_unforeseen_error_is_told_by_kind_and_place_and_without_its_text() -> None:
    told = line("work for a peer failed", error=failure("diary: dear secret"))
    assert "secret" not in told
    assert all(kind in told for kind in ("KeyError at", "ValueError at", "ExceptionGroup at"))
    assert "test_logs.py" in told
    assert "dear secret" in line("work for a peer failed", error=failure("diary: dear secret"), tells_all=True)


def test_fields_that_are_not_allowed_never_appear() -> None:
    record = logging.LogRecord("cis.x", logging.WARNING, __file__, 1, "", (), None)
    record.msg = {"event": "told", "value": "xyzzy", "key": "xyzzy"}  # as structlog does
    record._logger, record._name = None, "warning"  # as structlog does
    told = formatter(tells_all=True).format(record)
    assert "told" in told
    assert "xyzzy" not in told


@pytest.mark.parametrize("character", ["\x1b", "\x9b", "\u202e", "\u2066", "\n", "\x00"])
def test_control_characters_are_escaped_at_every_level(character: str) -> None:
    for tells_all in (False, True):
        assert character not in line(f"a{character}b", tells_all=tells_all)
