"""The node's own interfaces: HTTP of this machine, requests of agents, and what is shown of hostile memories."""

from __future__ import annotations

import asyncio
import base64
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import msgspec

from cis.api.control.control_http import ControlServer
from cis.api.control.control_socket import bind_control
from cis.api.control.protocol import Request, reply_type
from cis.api.control.server import control_server
from cis.api.embedded import EmbeddedNode
from cis.api.http_serving import Answer, Asked
from cis.api.memories.memory_schema import (
    ExportMemories,
    GetMemory,
    ListConflicts,
    ListMemories,
    MemoryHistory,
    MemoryStats,
    SearchMemories,
)
from cis.api.operations import REQUESTS
from cis.api.telemetry.metrics_http import Page, PageServer
from cis.apps.mcp import arguments, browsing, uris
from cis.apps.mcp.entries import entry_of
from cis.errors import PeerFault, UsageError
from cis.model import Hlc, Kind, replica_id
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.store.author import Draft, _Line
from cis.trust.identity import Label
from cis.trust.signing import GENESIS
from cis.wire.content import Content, encode_content
from cis.wire.messages import encode
from cis.wire.segment import Segment
from fuzz.target import Shared, Target, chosen, on_loop, parsed, scratch, script, steps_in
from tests.unit.api.clocks import Clock

BODY_MAX = 4096
PATIENCE_S = 20.0
KEYS = ("editor", "n", "s", "größe/\u202e")
_TIME = 1_800_000_000_000 << 16
_KINDS = tuple(Kind)
SLOW = frozenset({"memory/compact", "memory/reindex"})
_TOOLS = tuple(
    one for one in vars(arguments).values() if isinstance(one, type) and issubclass(one, arguments.Arguments)
)

_Change = tuple[int, int, int, bytes | list[Any]]
_CHANGES = msgspec.msgpack.Decoder(list[_Change])


def requests(data: bytes) -> None:
    """A body for each operation that a node without a network knows: answered, or refused with what is wrong."""
    on_loop(_ask(data))


async def _ask(data: bytes) -> None:
    node = _NODE.next()
    server = control_server(node.handlers)
    for number, raw in steps_in(data):
        answer = await server.answering(_asked(f"/v1/{chosen(kinds(), number).path}", _json(raw)))
        assert answer.status < 600
        if isinstance(answer.body, bytes):
            msgspec.json.decode(answer.body)
        else:
            async for line in answer.body:
                msgspec.json.Decoder().decode_lines(line)


@cache
def kinds() -> tuple[type[Request[Any]], ...]:
    """Return the operations that are asked for."""
    handlers = _NODE.next().handlers
    return tuple(kind for kind in REQUESTS if kind in handlers and kind.path not in SLOW)


def memories(data: bytes) -> None:
    """Memories that a member sealed with anything inside: every reading of them answers in its own form."""
    node = _NODE.next()
    with suppress(PeerFault, ValueError):
        node.local.store.merge(encode(_written(node.local, _NODE.inputs, data))).result()
    asked: list[Request[Any]] = [ListMemories(limit=50), ListConflicts(), MemoryStats()]
    asked += [SearchMemories(query="dark"), SearchMemories(vector="AACAPwAAgD8=", vector_model="m")]
    asked += [GetMemory(key=key) for key in KEYS]
    asked += [MemoryHistory(key=key) for key in KEYS[:2]]
    for request in asked:
        _shown(request, node.call(request))
    for found in node.stream(ExportMemories()):
        _shown(ExportMemories(), found)


def _shown(request: Request[Any], reply: Any) -> None:  # noqa: ANN401 - of whichever request
    again = msgspec.json.decode(msgspec.json.encode(reply), type=reply_type(type(request)))
    if isinstance(request, GetMemory) and again is not None:
        msgspec.json.encode(entry_of(again, 1000))


def https(data: bytes) -> None:
    """Bytes on the control socket and on the port for monitors, cut anywhere: the connection ends, and no other."""
    for number, raw in steps_in(data):
        with suppress(OSError):
            family, place = (socket.AF_UNIX, _servers().control) if number & 1 else (socket.AF_INET, _servers().pages)
            with socket.socket(family) as connection:
                connection.settimeout(PATIENCE_S)
                connection.connect(place)
                connection.sendall(raw)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 16):
                    pass


def tools(data: bytes) -> None:
    """Arguments, addresses and cursors as a model makes them up."""
    for number, raw in steps_in(data):
        with suppress(UsageError):
            match number % 3:
                case 0:
                    with suppress(msgspec.MsgspecError, ValueError, RecursionError):
                        given = msgspec.json.decode(_json(raw))
                        arguments.read(chosen(_TOOLS, number >> 2), given if isinstance(given, dict) else None)
                case 1:
                    uris.read(raw.decode(errors="replace"), "public")
                case _:
                    browsing._place(raw.decode(errors="replace"), 3)


def new_node() -> EmbeddedNode:
    """Return a node without a network, in a home of its own."""
    home = Home(scratch() / "home")
    LocalNode.create(home, "solo").close()
    return EmbeddedNode(LocalNode.open(home, clock_ms=Clock()), embedder=lambda _: None)


class _Servers(threading.Thread):
    """The control socket and the port for monitors, served by a thread of their own."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.control = str(scratch() / "home" / "control.sock")
        self.pages = ("", 0)
        self._ready = threading.Event()
        self.start()
        self._ready.wait(PATIENCE_S)

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        server = ControlServer(_echo, body_bytes_max=BODY_MAX)
        async with PageServer({"/healthz": _page}).listening("127.0.0.1", 0) as self.pages:
            listening = bind_control(Path(self.control))
            self._ready.set()
            await server.run_on(listening)


async def _echo(method: str, path: str, body: bytes | None) -> Answer:
    return Answer(200, "text/plain", f"{method} {path} {len(body or b'')}".encode())


async def _page() -> Page:
    return Page(200, "well\n")


_NODE = Shared(new_node, EmbeddedNode.close, every=20)
_servers = cache(_Servers)


def _written(local: LocalNode, number: int, data: bytes) -> Segment:
    """Return a changeset of this very member, of another incarnation: kind, key, time and content of each change."""
    public = local.cluster.public
    keys = local.cluster.writing_keys(public)
    lines = []
    for kind, key, time, inner in parsed(_CHANGES, data)[:32]:
        which = chosen(_KINDS, kind)
        plain = inner if isinstance(inner, bytes) else msgspec.msgpack.encode([chosen(KEYS, key), *inner]) + b"\x80"
        sealed = None if which in {Kind.DELETE, Kind.REMOVE} else plain
        memory = keys.memory_id(chosen(KEYS, key))
        lines.append(_Line(memory, which, Hlc((_TIME + time) % (1 << 63)), (), sealed))
    if not lines:
        raise ValueError("no changes")
    replica = replica_id(local.identity.node, number.to_bytes(8, "big"))
    draft = Draft(keys, replica, 1, GENESIS, local.cluster.authority(public), lines)
    return draft.close(partial(_sign, local), bytes).segment


def _sign(local: LocalNode, message: bytes) -> bytes:
    return local.identity.sign(Label.CHANGESET, message.removeprefix(Label.CHANGESET.value))


def _json(raw: bytes) -> bytes:
    """Return JSON for what is MessagePack, so that it can be changed by its structure; other bytes as they are."""
    with suppress(msgspec.MsgspecError, ValueError, TypeError, RecursionError):
        return msgspec.json.encode(msgspec.msgpack.decode(raw))
    return raw


def _asked(path: str, body: bytes) -> Asked:
    return Asked("POST", path, (), body)


def _request_seeds() -> Iterable[bytes]:
    bodies = {
        "memory/set": {"key": "editor", "value": {"a": [1, None]}, "form": "json", "tags": ["a"], "ttl_s": 9},
        "memory/incr": {"key": "n", "by": 5},
        "memory/add": {"key": "s", "values": ["a", 1], "form": "json"},
        "memory/import": {"rows": [{"key": "k", "value": "v", "type": "set"}], "space": "public"},
        "memory/search": {"query": 'dark -mode "a b"', "limit": 5, "category": "note"},
        "memory/list": {"prefix": "e", "limit": 5, "after": "a"},
    }
    for number, kind in enumerate(kinds()):
        yield script((number, msgspec.msgpack.encode(bodies.get(kind.path, {"key": "editor"}))), (number, b"{}"))
    deep = b'{"key": "k", "form": "json", "value": ' + b"[" * 3000
    yield script((0, deep), (0, b'{"key": "\xff"}'), (0, b'{"key": "\\ud800", "value": "v"}'))


def _memory_seeds() -> Iterable[bytes]:
    texts = [b"dark mode", 0, "preference", ["a", "b"], 1000, b"\0\0\x80\x3f" * 2, "m", 0, 0]
    notes = [b'{"a": [1, 2.5]}', 1], [b"\xff\0", 2], [b"", 0, "note", [], 0, b"", "", 5, 2]
    for kind in range(len(_KINDS)):
        yield msgspec.msgpack.encode(
            [(kind, kind, 5, texts), *((kind, kind + at, at, one) for at, one in enumerate(notes))]
        )
    deep, surrogate = b"[" * 5000, b'"\\ud800"'
    yield msgspec.msgpack.encode(
        [(0, 0, 1, [deep, 1]), (3, 2, 2, [surrogate, 1]), (0, 1, 3, encode_content(Content("n")))]
    )


def _http_seeds() -> Iterable[bytes]:
    post = b"POST /v1/memory/get HTTP/1.1\r\nHost: cis\r\nContent-Length: 2\r\n\r\n{}"
    chunked = (
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    )
    yield script((1, post + post), (1, chunked), (0, b"GET /healthz?a=b HTTP/1.1\r\nHost: a\r\n\r\n"))
    yield script((0, b"HEAD /healthz HTTP/1.0\r\n\r\n"), (0, chunked), (1, b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n"))


def _tool_seeds() -> Iterable[bytes]:
    given = {"key": "k", "value": "v", "query": "q", "tags": ["a"], "limit": 5, "cursor": "WzAsIG51bGxd", "add": ["x"]}
    yield from (script((number << 2, msgspec.msgpack.encode(given))) for number in range(len(_TOOLS)))
    deep = base64.urlsafe_b64encode(b"[" * 3000)
    yield script((1, b"memory://a%2Fb?space=work"), (2, b"WzAsIG51bGxd"), (2, b"WzEsICJhIl0="), (2, deep))


TARGETS = (
    Target("control.requests", requests, _request_seeds),
    Target("control.memories", memories, _memory_seeds, bytes_max=12_000),
    Target("control.https", https, _http_seeds),
    Target("control.tools", tools, _tool_seeds, bytes_max=6000),
)
