"""The server of the page: files, the way in, and questions, each answered by the running node.

::

    serve_web(home, 0, print)        # until stopped; tells each link, the next when one was used
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from cis.api.control.client import require_node
from cis.api.control.protocol import failure_of, plain, status_of
from cis.api.http_serving import Answer, Asked, HttpServer
from cis.api.python.remote import AsyncRemoteNode
from cis.apps.web.asking import QUESTIONS
from cis.apps.web.files import HEADERS, load_files
from cis.apps.web.gate import Gate
from cis.errors import CisError, Denied, Unavailable, UsageError

_log = logging.getLogger(__name__)
_Question = TypeVar("_Question")

HOST = "127.0.0.1"
BODY_BYTES_MAX = 2 << 20
"""A memory of the largest size, all of it characters that JSON escapes."""
CONNECTIONS_MAX = 64
PATIENCE_S = 30.0
JSON = "application/json"
QUESTIONS_PATH = "/api/"
ENTRY_PATH = "/enter"
USED = "this link was used, or is of another run: the newest stands where `cis web` runs"
DEFECT = "the page's server met a defect of its own: the terminal where `cis web` runs says more"


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a link holds."""

    token: str


class Entered(msgspec.Struct, frozen=True):
    """The key to send with every question."""

    key: str


class WebServer:
    """Answers browsers about the node of one home; ``on_link`` is told each new link."""

    def __init__(self, home: Path, port: int, on_link: Callable[[str], None]) -> None:
        self._node = AsyncRemoteNode(home)
        self._files = load_files()
        self._gate = Gate(port)
        self._address = f"http://{HOST}:{port}/"
        self._on_link = on_link

    def offer(self) -> None:
        """Tell a link that lets one browser in."""
        self._on_link(f"{self._address}#token={self._gate.new_token()}")

    async def answer(self, asked: Asked) -> Answer:
        """Answer a request."""
        try:
            if not self._gate.is_ours(asked):
                raise Denied(f"this is not asked by the page of `cis web`: open {self._address} itself")
            return await (self._answer_post(asked) if asked.method == "POST" else self._give_file(asked))
        except CisError as error:
            return _refusal(status_of(error), plain(error))
        except Exception:  # noqa: BLE001 - the boundary of one request: a defect met in it ends that request alone
            _log.exception("%s failed", asked.path)
            return _refusal(500, CisError(DEFECT))

    async def _give_file(self, asked: Asked) -> Answer:
        file = self._files.get(asked.path) if asked.method == "GET" else None
        return file or _refusal(404, UsageError("there is no such page"))

    async def _answer_post(self, asked: Asked) -> Answer:
        if (body := asked.body) is None:
            return _refusal(413, UsageError(f"that is more than {BODY_BYTES_MAX:,} bytes"))
        if asked.path == ENTRY_PATH:
            return self._enter(_read(body, Entry))
        if not self._gate.admits(asked, time.monotonic()):
            return _refusal(401, Denied(f"this browser was not let in: {USED}"))
        name = asked.path.removeprefix(QUESTIONS_PATH)
        if not asked.path.startswith(QUESTIONS_PATH) or name not in QUESTIONS:
            return _refusal(404, UsageError("there is no such question"))
        kind, ask = QUESTIONS[name]
        return _json(200, await ask(self._node, _read(body, kind)))

    def _enter(self, entry: Entry) -> Answer:
        session = self._gate.enter(entry.token, time.monotonic())
        if session is None:
            return _refusal(401, Denied(USED))
        self.offer()
        return _json(200, Entered(session.key), ("set-cookie", self._gate.cookie_of(session)))


def serve_web(home: Path, port: int, on_link: Callable[[str], None]) -> None:
    """Serve until interrupted; raises `UsageError` where there is no node, `Unavailable` where the port is taken."""
    require_node(home)
    with contextlib.closing(_listening(port)) as listening:
        asyncio.run(_serve(home, listening, on_link))


async def _serve(home: Path, listening: socket.socket, on_link: Callable[[str], None]) -> None:
    web = WebServer(home, listening.getsockname()[1], on_link)
    server = HttpServer(
        web.answer, body_bytes_max=BODY_BYTES_MAX, connections_max=CONNECTIONS_MAX, patience_s=PATIENCE_S
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.close)
    web.offer()
    await server.run_on(listening)


def _listening(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(CONNECTIONS_MAX)
    except OSError as error:
        listener.close()
        why = error.strerror or error
        raise Unavailable(f"cannot listen on {HOST}, port {port}: {why}; without --port a free one is taken") from error
    listener.setblocking(False)
    return listener


def _read(body: bytes, kind: type[_Question]) -> _Question:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"not a question of the page: {error}") from error


def _json(status: int, value: Any, *headers: tuple[str, str]) -> Answer:  # noqa: ANN401 - anything msgspec encodes
    return Answer(status, JSON, msgspec.json.encode(value), (*HEADERS, *headers))


def _refusal(status: int, error: CisError) -> Answer:
    return _json(status, failure_of(error))
