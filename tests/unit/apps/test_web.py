"""`cis web`: who is let in, what is answered, and what the page may do; over HTTP, without a browser or a node."""

from __future__ import annotations

import asyncio
import re
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cis.api.control.client import Node, open_store
from cis.api.http_serving import Answer, Asked, HttpServer
from cis.api.memories.memory_schema import AddToMemory, GetMemory, ImportBatch, IncrementMemory, SetMemory
from cis.apps.cli.main import run
from cis.apps.web import opening
from cis.apps.web.asking import QUESTIONS
from cis.apps.web.files import HEADERS, load_files
from cis.apps.web.gate import IDLE_S, SESSIONS_MAX, TOKENS_MAX, Gate
from cis.apps.web.serving import BODY_BYTES_MAX, WebServer, serve_web
from cis.errors import Changed, Unavailable, UsageError

LIMIT_S = 60.0
STATIC = resources.files("cis.apps.web") / "static"


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def told(self) -> Any:
        return msgspec.json.decode(self.body)


async def all_of(reader: asyncio.StreamReader) -> bytes:
    """Return what is said until the end, nothing where the connection is cut off."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""


@dataclass
class Scene:
    """A server, and the links it told."""

    home: Path
    connections_max: int = 64
    patience_s: float = LIMIT_S
    port: int = 0
    links: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Scene]:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.port = listening.getsockname()[1]
            web = WebServer(self.home, self.port, self.links.append)
            web.offer()
            server = HttpServer(
                web.answer,
                body_bytes_max=BODY_BYTES_MAX,
                connections_max=self.connections_max,
                patience_s=self.patience_s,
            )
            async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
                group.create_task(server.run_on(listening))
                try:
                    yield self
                finally:
                    server.close()

    async def ask(self, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """Ask by GET, or by POST where there is a body; headers are the page's own, but those given ("" for none)."""
        own = {"host": f"127.0.0.1:{self.port}", "connection": "close"}
        if body is not None:
            own |= {"origin": f"http://127.0.0.1:{self.port}", "content-length": str(len(body))}
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in (own | headers).items() if value]
        head = "\r\n".join([f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", *lines, "", ""])
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(head.encode("latin-1") + (body or b""))
        answer = await all_of(reader)
        writer.close()
        status, _, rest = answer.partition(b"\r\n")
        told, _, content = rest.partition(b"\r\n\r\n")
        named = (line.partition(": ") for line in told.decode("latin-1").split("\r\n"))
        return Reply(
            int(status.split()[1]) if status else 0, {name.lower(): value for name, _, value in named}, content
        )

    @property
    def token(self) -> str:
        return self.links[-1].partition("#token=")[2]

    async def enter(self) -> dict[str, str]:
        """Use the newest link; returns the headers of a browser that was let in."""
        reply = await self.ask("/enter", msgspec.json.encode({"token": self.token}))
        assert reply.status == 200
        return {"cookie": reply.headers["set-cookie"].partition(";")[0], "x_cis_key": reply.told["key"]}


async def test_a_link_lets_one_browser_in_once_and_the_next_is_told(tmp_path: Path) -> None:
    async with Scene(tmp_path).serving() as scene:
        used = scene.token
        entered = await scene.enter()
        assert (await scene.ask("/api/live", b"{}", **entered)).status != 401
        again = await scene.ask("/enter", msgspec.json.encode({"token": used}))
        assert (again.status, "set-cookie" in again.headers) == (401, False)
        assert len(scene.links) == 2
        await scene.enter()


@pytest.mark.parametrize("token", ["", "x" * 43, "\u00fc", "x" * 1_000_000])
async def test_what_is_no_token_lets_nobody_in(tmp_path: Path, token: str) -> None:
    async with Scene(tmp_path).serving() as scene:
        assert (await scene.ask("/enter", msgspec.json.encode({"token": token}))).status == 401


async def test_a_cookie_is_read_by_no_script_and_sent_by_no_other_site(tmp_path: Path) -> None:
    async with Scene(tmp_path).serving() as scene:
        reply = await scene.ask("/enter", msgspec.json.encode({"token": scene.token}))
        words = reply.headers["set-cookie"].split("; ")
        assert {"HttpOnly", "SameSite=Strict"} <= set(words)
        assert not any(word.startswith(("Max-Age", "Expires")) for word in words)


async def test_nothing_is_answered_without_cookie_and_key_of_the_same_session(tmp_path: Path) -> None:
    async with Scene(tmp_path).serving() as scene:
        one, other = await scene.enter(), await scene.enter()
        for given in (
            {},
            {"cookie": one["cookie"]},
            {"x_cis_key": one["x_cis_key"]},
            one | {"cookie": other["cookie"]},
        ):
            for question in QUESTIONS:
                assert (await scene.ask(f"/api/{question}", b"{}", **given)).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:{port}", "origin": "http://evil.example:{port}"},
        {"host": ""},
        {"host": "127.0.0.1"},
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "https://127.0.0.1:{port}"},
        {"origin": "null"},
        {"origin": ""},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
async def test_another_page_or_another_name_for_this_machine_gets_nothing(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    async with Scene(tmp_path).serving() as scene:
        entered = await scene.enter()
        given = {name: value.format(port=scene.port) for name, value in headers.items()}
        reply = await scene.ask("/api/live", b"{}", **(entered | given))
        assert reply.status == (403 if headers != {"host": ""} else 0)
        if "host" in headers:
            assert (await scene.ask("/", **given)).status == reply.status


async def test_localhost_is_this_machine_too(tmp_path: Path) -> None:
    async with Scene(tmp_path).serving() as scene:
        place = f"localhost:{scene.port}"
        body = msgspec.json.encode({"token": scene.token})
        assert (await scene.ask("/enter", body, host=place, origin=f"http://{place}")).status == 200


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/live", b"", 400),
        ("/api/live", b"\xff", 400),
        ("/api/live", b"[" * 100_000, 400),
        ("/api/live", b'{"' + b"\xed\xa0\x80" + b'": 1}', 400),
        ("/api/live", b'{"more": 1}', 400),
        ("/api/save", b'{"key": "k", "text": 1}', 400),
        ("/api/nothing", b"{}", 404),
        ("/api/", b"{}", 404),
        ("/live", b"{}", 404),
        ("/api/live", bytes(BODY_BYTES_MAX + 1), 413),
        ("/../web/gate.py", None, 404),
        ("/api/live", None, 404),
    ],
)
async def test_what_is_no_question_is_refused_and_nothing_breaks(
    tmp_path: Path, path: str, body: bytes | None, status: int
) -> None:
    async with Scene(tmp_path).serving() as scene:
        entered = await scene.enter()
        assert (await scene.ask(path, body, **entered)).status == status
        assert (await scene.ask("/")).status == 200


async def test_every_answer_forbids_other_origins_inline_code_caches_and_frames(tmp_path: Path) -> None:
    async with Scene(tmp_path).serving() as scene:
        for reply in (await scene.ask("/"), await scene.ask("/main.js"), await scene.ask("/api/live", b"{}")):
            assert dict(HEADERS).items() <= reply.headers.items()
        policy = dict(part.split(" ", 1) for part in dict(HEADERS)["content-security-policy"].split("; "))
        assert policy.pop("default-src") == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
        assert {value for name, value in policy.items() if name.endswith("-src")} == {"'self'"}
        assert policy["require-trusted-types-for"] == "'script'"


async def test_a_slow_client_is_cut_off_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    async with Scene(tmp_path, patience_s=0.3).serving() as scene:
        reader, writer = await asyncio.open_connection("127.0.0.1", scene.port)
        writer.write(b"POST /api/live HTTP/1.1\r\nHost: ")
        assert (await scene.ask("/")).status == 200
        assert await all_of(reader) == b""
        writer.close()


async def test_a_client_that_does_not_take_its_answer_in_is_cut_off() -> None:
    async def answer(_: Asked) -> Answer:
        return Answer(200, "text/plain", bytes(16 << 20))

    server = HttpServer(answer, body_bytes_max=0, patience_s=0.3)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
            group.create_task(server.run_on(listening))
            _, writer = await asyncio.open_connection(*listening.getsockname())
            writer.transport.pause_reading()
            writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            for wanted in (True, False):
                while bool(server.connections) != wanted:
                    await asyncio.sleep(0)
            writer.transport.abort()
            server.close()


async def test_more_connections_than_may_be_are_turned_away_until_others_end(tmp_path: Path) -> None:
    async with Scene(tmp_path, connections_max=2).serving() as scene:
        held = [await asyncio.open_connection("127.0.0.1", scene.port) for _ in range(2)]
        for _, writer in held:
            writer.write(b"GET / HTTP/1.1\r\n")
        reader, writer = await asyncio.open_connection("127.0.0.1", scene.port)
        assert await all_of(reader) == b""
        for _, one in [*held, (reader, writer)]:
            one.transport.abort()
        while (await scene.ask("/")).status != 200:
            await asyncio.sleep(0)


async def test_without_a_running_node_the_page_is_told_what_to_type(home: Path) -> None:
    async with Scene(home).serving() as scene:
        reply = await scene.ask("/api/live", b"{}", **await scene.enter())
        assert (reply.status, reply.told["kind"]) == (503, "Unavailable")
        assert "cis up" in reply.told["error"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    monkeypatch.setenv("CIS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CIS_MEMORY__EMBEDDING__PROVIDER", "off")
    assert run(["init", "--name", "solo"]) == 0
    capsys.readouterr()
    return tmp_path / "home"


class Page:
    """Asks the store of a home what the page asks a running node."""

    def __init__(self, node: Node) -> None:
        self.node = node

    async def call(self, request: Any) -> Any:
        return self.node.call(request)

    async def ask(self, question: str, **fields: Any) -> Any:
        """Ask as the page does, and return what it is told."""
        kind, ask = QUESTIONS[question]
        answer = await ask(self, msgspec.json.decode(msgspec.json.encode(fields), type=kind))
        return msgspec.json.decode(msgspec.json.encode(answer))


@pytest.fixture
def page(home: Path) -> Iterator[Page]:
    with open_store(home) as node:
        yield Page(node)


async def test_a_value_is_shown_and_saved_to_the_last_digit(page: Page) -> None:
    text = '{\n  "id": 12345678901234567890,\n  "share": 1.0\n}'
    await page.ask("save", key="k", form="json", text=text)
    one = await page.ask("memory", key="k")
    assert (one["text"], one["form"], one["kind"]) == (text, "json", "JSON")
    await page.ask("save", key="k", form="json", text=one["text"], version=one["version"], tags=["t"])
    assert page.node.call(GetMemory(key="k")).value == {"id": 12345678901234567890, "share": 1.0}


async def test_saving_replaces_only_what_was_read(page: Page) -> None:
    await page.ask("save", key="k", text="one")
    read = await page.ask("memory", key="k")
    page.node.call(SetMemory(key="k", value="of another"))
    for version, told in ((None, "already"), (read["version"], "has changed it since")):
        with pytest.raises(Changed, match=told):
            await page.ask("save", key="k", text="two", version=version)
    assert page.node.call(GetMemory(key="k")).value == "of another"
    await page.ask("erase", key="k")
    with pytest.raises(Changed, match="deleted"):
        await page.ask("save", key="k", text="two", version=read["version"])
    assert await page.ask("memory", key="k") is None


async def test_a_time_to_live_goes_on_when_a_memory_is_edited(page: Page) -> None:
    page.node.call(SetMemory(key="k", value="v", ttl_s=1000))
    read = await page.ask("memory", key="k")
    await page.ask("save", key="k", text="two", version=read["version"])
    after = page.node.call(GetMemory(key="k"))
    assert abs(after.expires_ms - read["expires_ms"]) < LIMIT_S * 1000


async def test_what_cannot_be_edited_here_is_shown_and_kept(page: Page) -> None:
    page.node.call(IncrementMemory(key="visits", by=1 << 60))
    page.node.call(AddToMemory(key="langs", values=("python", "two\nlines")))
    page.node.call(SetMemory(key="raw", value="AAEC", form="bytes"))
    told = [await page.ask("memory", key=key) for key in ("visits", "langs", "raw")]
    assert [one["form"] for one in told] == [None, None, None]
    assert [one["text"] for one in told] == [str(1 << 60), 'python\n"two\\nlines"', "(3 bytes)"]
    with pytest.raises(UsageError, match="counter"):
        await page.ask("save", key="visits", text="2", version=told[0]["version"])


async def test_a_search_marks_what_was_asked_for_and_a_list_goes_on_where_it_ended(page: Page) -> None:
    page.node.call(SetMemory(key="weather", value="the rain in Spain " + "falls " * 200))
    page.node.call(ImportBatch(rows=tuple({"key": f"k{number}", "value": "x"} for number in range(51))))
    (hit,) = (await page.ask("memories", query="rain"))["hits"]
    assert [text for text, marked in hit["parts"] if marked] == ["rain"]
    assert hit["memory"]["cut"]
    first = await page.ask("memories")
    rest = await page.ask("memories", after=first["next"])
    keys = [hit["memory"]["key"] for hit in (*first["hits"], *rest["hits"])]
    assert (len(first["hits"]), keys[-1], rest["next"]) == (50, "weather", None)
    assert "private" in await page.ask("spaces")


def asked(cookie: str = "", key: str = "") -> Asked:
    return Asked("POST", "/", ((b"cookie", f"a=b; {cookie}".encode()), (b"x-cis-key", key.encode())), b"")


def test_a_session_ends_when_it_asks_nothing_for_long_and_the_oldest_gives_way() -> None:
    gate = Gate(1)
    sessions = [gate.enter(gate.new_token(), 0.0) for _ in range(SESSIONS_MAX + 1)]
    seen = [(gate.cookie_of(one).partition(";")[0], one.key) for one in sessions if one is not None]
    assert not gate.admits(asked(*seen[0]), 1.0)
    assert gate.admits(asked(*seen[1]), IDLE_S)
    assert gate.admits(asked(*seen[1]), 2 * IDLE_S)
    assert not gate.admits(asked(*seen[2]), 2 * IDLE_S)


def test_of_links_never_used_the_oldest_is_void() -> None:
    gate = Gate(1)
    tokens = [gate.new_token() for _ in range(TOKENS_MAX + 1)]
    assert gate.enter(tokens[0], 0.0) is None
    assert gate.enter(tokens[1], 0.0) is not None


def test_the_browser_is_led_by_a_file_only_its_owner_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def note(url: str) -> bool:
        opened.append(url)
        return True

    monkeypatch.setattr(opening.webbrowser, "open", note)
    (tmp_path / opening.FILE).write_text("of before")
    assert opening.open_link(tmp_path, "http://127.0.0.1:1/#token=a&b")
    (file,) = tmp_path.iterdir()
    assert opened == [file.as_uri()]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "url=http://127.0.0.1:1/#token=a&amp;b" in file.read_text()
    opening.forget_link(tmp_path)
    assert not file.exists()


def test_a_port_that_is_taken_and_a_home_without_a_node_are_told(tmp_path: Path, home: Path) -> None:
    with pytest.raises(UsageError, match="cis init"):
        serve_web(tmp_path / "none", 0, print)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(Unavailable, match="without --port"):
        serve_web(home, taken.getsockname()[1], print)


def test_the_page_has_no_inline_code_and_names_no_other_origin() -> None:
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|javascript:", page)
    assert set(re.findall(r'(?:src|href)="([^"#]+)"', page)) == {"icon.svg", "style.css", "main.js"}
    for file in STATIC.iterdir():
        text = file.read_text()
        assert set(re.findall(r"https?://[^\s\"'<>]+", text)) <= {"http://www.w3.org/2000/svg"}, file.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)


def test_every_file_the_page_names_is_served() -> None:
    files = load_files()
    scripts = [answer.body.decode() for path, answer in files.items() if path.endswith(".js")]
    named = {f"/{name}" for text in scripts for name in re.findall(r'from "\./([\w.]+)"', text)}
    assert named | {"/", "/icon.svg", "/style.css", "/main.js"} == set(files)
