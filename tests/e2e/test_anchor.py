"""``cis anchor serve`` and what it is for, as users run it: real processes on loopback."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.e2e.conftest import Home
from tests.e2e.test_pair import environment, showing
from tests.net.anchors import certificate

pytestmark = pytest.mark.timeout(120)
NewHome = Callable[[str], Home]
_UP = re.compile(r"the anchor is up at (https?://\S+?)(?:, STUN on UDP port (\d+))?$")


@contextmanager
def serving(*words: str, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run an anchor; yields its process and URL."""
    command = [
        sys.executable,
        "-m",
        "cis",
        "anchor",
        "serve",
        "--listen",
        f"127.0.0.1:{port}",
        "--stun-port",
        "0",
        *words,
    ]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, env=environment(Home(Path("/nowhere"))), text=True
    ) as process:
        try:
            errors: IO[str] | None = process.stderr
            assert errors is not None
            said = errors.readline().strip()
            found = _UP.fullmatch(said)
            assert found is not None, said
            yield process, found[1]
        finally:
            process.kill()


def set_anchor(home: Home, url: str, **more: str) -> None:
    lines = [f'{name} = "{value}"' for name, value in {"endpoint": url, **more}.items()]
    (home.path / "config.toml").write_text("\n".join(["[p2p.cloud_anchor]", "enabled = true", *lines, ""]))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def test_two_devices_pair_by_an_anchor_alone_and_find_each_other_there_when_both_moved(new_home: NewHome) -> None:
    laptop, desktop = new_home("laptop"), new_home("desktop")
    laptop.cis("init", "--name", "laptop")
    desktop.cis("init", "--name", "desktop")
    laptop.cis("memory", "set", "editor", "dark")
    with serving() as (_, url):
        with showing(laptop, "--anchor", url) as shown:
            taken = desktop.cis("pair", "--yes", "--anchor", url, shown.code)
            code, said, _ = shown.ended()
        assert code == 0
        assert "from anywhere, by the anchor 127.0.0.1" in said
        words = {re.findall(r"^    ([a-z]+ [a-z]+ [a-z]+ [a-z]+)$", text, re.MULTILINE)[-1] for text in (said, taken)}
        assert len(words) == 1
        assert f"cis config set p2p.cloud_anchor.endpoint {url}" in taken
        for home in (laptop, desktop):
            set_anchor(home, url)
            (home.path / "bootstrap.json").unlink(missing_ok=True)
            home.up()
        desktop.wait_keys("editor")
        assert laptop.wait_status(lambda status: status.connected == ("desktop",)).problems == {}
    laptop.wait_status(lambda status: "anchor 127.0.0.1" in status.problems)
    laptop.cis("memory", "set", "shell", "fish")
    desktop.wait_keys("editor", "shell")


def test_an_anchor_with_tls_and_tokens_lets_in_who_has_one_and_ends_cleanly(new_home: NewHome, tmp_path: Path) -> None:
    pem, key = certificate(tmp_path)
    tokens, database = tmp_path / "tokens", tmp_path / "anchor.db"
    tokens.write_text("a-token-of-some-length\n")
    words = ["--tls-cert", str(pem), "--tls-key", str(key), "--token-file", str(tokens), "--database", str(database)]
    solo, port = new_home("solo"), free_port()
    solo.cis("init", "--name", "solo")
    set_anchor(solo, f"https://127.0.0.1:{port}", ca_file=str(pem))
    with serving(*words, port=port) as (process, _):
        solo.up()
        problems = solo.wait_status(lambda status: status.problems).problems
        assert "access token" in problems["anchor 127.0.0.1"]
        solo.cis("down")
        solo.cis("config", "set", "p2p.cloud_anchor.token", "a-token-of-some-length")
        solo.up()
        with serving_counts(port, pem) as counts:
            counts("cis_anchor_records 1")
        assert solo.status().problems == {}
        assert "a-token-of-some-length" not in solo.cis("config", "list")
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert database.stat().st_mode & 0o077 == 0


@contextmanager
def serving_counts(port: int, pem: Path) -> Iterator[Callable[[str], None]]:
    """Yield what waits until the metrics have a line."""
    import http.client
    import ssl
    import time

    trusting = ssl.create_default_context(cafile=pem)

    def wait(line: str) -> None:
        deadline = time.monotonic() + 20
        while True:
            connection = http.client.HTTPSConnection("127.0.0.1", port, context=trusting, timeout=5)
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
            connection.close()
            if line in text.splitlines():
                return
            assert time.monotonic() < deadline, text

    yield wait


def test_plain_http_for_others_is_refused_unless_it_is_asked_for(new_home: NewHome) -> None:
    ended = new_home("none").run("anchor", "serve", "--listen", "0.0.0.0:0")
    assert ended.code == 2
    assert "--insecure-http" in ended.err


def test_a_device_whose_anchor_is_away_says_so_and_does_not_wait(new_home: NewHome) -> None:
    solo = new_home("solo")
    solo.cis("init", "--name", "solo")
    set_anchor(solo, "https://no-such-anchor.invalid")
    solo.up()
    problems = solo.wait_status(lambda status: status.problems).problems
    assert "no-such-anchor.invalid cannot be reached" in problems["anchor no-such-anchor.invalid"]
    ended = solo.run("pair", "--anchor", "http://anchor.example.net")
    assert (ended.code, "not encrypted" in ended.err) == (2, True)
