"""The log: what it may say, what a word stands for, and that nothing a peer wrote disturbs a terminal."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator

import pytest

from cis.api.configuration.log_levels import AREAS
from cis.api.telemetry.log_limits import KEYS_MAX, LINES_MAX, LineLimit
from cis.api.telemetry.logs import Form, formatter, log_counts, set_up_logging
from cis.api.text import redacted
from cis.errors import UsageError
from cis.node.finding.finder import Problems

LOGGERS = ("cis", *(name for names in AREAS.values() for name in names))

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
    record = logging.getLogger("cis.x").makeRecord(
        "cis.x", logging.WARNING, __file__, 1, "told", (), None, extra={"value": "xyzzy", "key": "xyzzy"}
    )
    for as_json in (False, True):
        told = formatter(tells_all=True, as_json=as_json).format(record)
        assert "told" in told
        assert "xyzzy" not in told


@pytest.mark.parametrize("character", ["\x1b", "\x9b", "\u202e", "\u2066", "\n", "\x00"])
def test_control_characters_are_escaped_at_every_level(character: str) -> None:
    for tells_all in (False, True):
        assert character not in line(f"a{character}b", tells_all=tells_all)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    """Set logging up anew, run what logs, and return the lines it led to; how logging was is put back."""
    root = logging.getLogger()
    handlers, levels = root.handlers[:], {name: logging.getLogger(name).level for name in ("", *LOGGERS)}
    monkeypatch.delenv("CIS_LOG", raising=False)

    def told(speaks: Callable[[], object], level: str | None = None, form: Form = "auto") -> list[str]:
        out = io.StringIO()
        monkeypatch.setattr(sys, "stderr", out)
        set_up_logging(level, form)
        speaks()
        root.handlers[0].close()
        return out.getvalue().splitlines()

    yield told
    root.handlers[:] = handlers
    for name, was in levels.items():
        logging.getLogger(name).setLevel(was)


def test_each_area_is_told_as_much_of_as_it_was_set_to(lines: Callable[..., list[str]]) -> None:
    def speak() -> None:
        for name in ("cis.net.udp", "cis.store.index", "cis.api.daemon", "zeroconf"):
            logging.getLogger(name).debug("%s: the least", name)
            logging.getLogger(name).info("%s: the usual", name)

    told = lines(speak, "info,p2p=debug,store=warning")
    assert [line.split("] ")[1].strip() for line in told] == [
        "cis.net.udp: the least",
        "cis.net.udp: the usual",
        "cis.api.daemon: the usual",
    ]


def test_commands_without_settings_log_as_the_environment_says(
    lines: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIS_LOG", "error")
    assert lines(lambda: logging.getLogger("cis.net").warning("unheard")) == []
    monkeypatch.setenv("CIS_LOG", "p2p=loud")
    with pytest.raises(UsageError, match="environment CIS_LOG='p2p=loud'"):
        set_up_logging()


def test_what_is_hidden_below_debug_is_hidden_in_the_areas_that_are_not_at_debug(
    lines: Callable[..., list[str]],
) -> None:
    def speak() -> None:
        for name in ("cis.net.udp", "cis.store.index"):
            logging.getLogger(name).warning("from 192.168.1.7:7677")

    shown, hidden = lines(speak, "net=debug")
    assert "192.168.1.7:7677" in shown
    assert "(address)" in hidden


def test_json_lines_hold_the_named_fields_and_nothing_that_disturbs_a_terminal(
    lines: Callable[..., list[str]],
) -> None:
    def speak() -> None:
        logging.getLogger("cis.net.udp").warning("from %s: \x1b[2J\u202e\x7f\n", "10.0.0.1:1")
        logging.getLogger("cis.node.streams.links").error("failed", exc_info=failure("dear secret"))

    told = lines(speak, form="json")
    assert not any(sign in "".join(told) for sign in "\x1b\u202e\x7f")
    first, second = map(json.loads, told)
    assert (first["level"], first["area"], first["event"]) == ("warning", "net", "from (address): \x1b[2J\u202e\x7f\n")
    assert set(first) == {"timestamp", "level", "area", "event"}
    assert "KeyError at" in second["exception"]
    assert "dear secret" not in second["exception"]


def test_what_one_line_of_code_says_too_often_is_left_out_and_counted(lines: Callable[..., list[str]]) -> None:
    def speak() -> None:
        for number in range(LINES_MAX + 30):
            logging.getLogger("cis.net.udp").warning("a stranger said %d", number)
        logging.getLogger("cis.net.udp").warning("another thing")
        assert log_counts() == ({"warning": LINES_MAX + 31}, 30)

    told = lines(speak)
    assert len([line for line in told if "a stranger said" in line]) == LINES_MAX
    assert sum("another thing" in line for line in told) == 1
    assert "30 more events like those from test_logs.py" in told[-1]
    assert len(lines(speak_often, "net=debug")) == LINES_MAX + 30


def speak_often() -> None:
    for _ in range(LINES_MAX + 30):
        logging.getLogger("cis.net.udp").warning("again")


def test_a_line_of_code_speaks_again_once_its_time_is_over_and_what_it_left_out_is_told_once() -> None:
    limit = LineLimit(lines_max=2, window_s=60.0)
    assert [limit.admits("a", now) for now in (0.0, 1.0, 2.0, 59.0)] == [True, True, False, False]
    assert limit.due(59.0) == []
    assert limit.due(60.0) == [("a", 2)]
    assert limit.due(61.0) == []
    assert limit.admits("a", 61.0)
    assert limit.left_out == 2


def test_lines_of_code_that_are_remembered_are_bounded() -> None:
    limit = LineLimit(lines_max=1)
    for number in range(2 * KEYS_MAX):
        for _ in range(2):
            limit.admits(str(number), 0.0)
    assert len(limit.due(1e9)) == KEYS_MAX
