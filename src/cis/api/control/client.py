"""The client of a node: the daemon over its control socket where one answers, else the store itself.

::

    with connect(home_of(None)) as node:
        node.call(SetMemory(key="editor", value="dark mode"))
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import time
from collections.abc import Iterator
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Protocol, Self

import msgspec

from cis.api.control.protocol import Failure, Reply, Request, error_of, reply_type
from cis.api.loading import loading
from cis.errors import CisError, Denied, StoreError, TimedOut, Unavailable, UsageError
from cis.node.home.folder import Home

NO_DAEMON = "no node is running here: start it with `cis up`"
CONNECT_S = 5.0
LOCKED_S = 3.0
"""How long a command waits for another that has the store open."""
_POLL_S = 0.02
FAILURE = b'{"failure":'
_READ_BYTES = 64 * 1024
ANSWER_S = 120.0
"""Least patience for an answer; a request that names a time of its own gets that on top."""


class Node(Protocol):
    """What `connect` returns."""

    running: bool

    def call(self, request: Request[Reply], /) -> Reply:
        """Answer a request; raises `CisError`."""
        ...

    def stream(self, request: Request[Reply], /) -> Iterator[Reply]:
        """Answer a request that streams."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


def connect(home: Path) -> Node:
    """Return the running node of a home, else its store opened here; `UsageError` where there is no node at all."""
    remote = connect_daemon(home)
    if remote is not None:
        return remote
    return open_store(home)


def connect_running(home: Path) -> RemoteNode:
    """Return the running node; `Unavailable` where none answers, `UsageError` where there is no node at all."""
    remote = connect_daemon(home)
    if remote is not None:
        return remote
    require_node(home)
    raise Unavailable(NO_DAEMON)


def connect_daemon(home: Path) -> RemoteNode | None:
    """Return the running node, None where none answers."""
    path = find_socket(home)
    if path is None:
        return None
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
        probe.settimeout(CONNECT_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        except OSError as error:
            raise Unavailable(f"the node's control socket {path} does not answer: {error.strerror or error}") from error
    return RemoteNode(path)


def find_socket(home: Path) -> Path | None:
    """Return a home's control socket, None where there is none; `Denied` where others could have put it there."""
    path = Home(home).socket
    if not path.exists():
        return None
    owner = path.parent.lstat()
    if owner.st_uid not in (os.getuid(), 0) or stat.S_IMODE(owner.st_mode) & 0o077:
        raise Denied(f"{path.parent} is not yours alone, so what answers there may not be your node: remove it")
    return path


def open_store(home: Path) -> Node:
    """Open the store of a home in this process."""
    require_node(home)
    with loading():
        from cis.api.configuration.settings_file import VARIABLES  # noqa: PLC0415 - as above
        from cis.api.embedded import EmbeddedNode  # noqa: PLC0415 - opens databases; a daemon's client does not
        from cis.api.memories.search_options import SearchOptions, search_options_of  # noqa: PLC0415 - as above
        from cis.crdt import Policy  # noqa: PLC0415 - as above
        from cis.node.home.local import LocalNode  # noqa: PLC0415 - as above
        from cis.node.home.unlocking import unlock  # noqa: PLC0415 - as above

    policy, search = Policy.CRDT, SearchOptions()
    if Home(home).config.exists() or any(name.upper().startswith(VARIABLES) for name in os.environ):
        from cis.api.configuration.settings import load  # noqa: PLC0415 - pydantic takes as long as all else together

        settings = load(home)
        policy, search = Policy(settings.p2p.sync.conflict_resolution), search_options_of(settings)
    identity = unlock(Home(home))  # once: it may ask
    deadline = time.monotonic() + LOCKED_S
    while True:
        try:
            return EmbeddedNode(LocalNode(Home(home), identity), policy, search)
        except StoreError:
            if not is_locked(home) or time.monotonic() > deadline:
                raise
            if (remote := connect_daemon(home)) is not None:
                return remote
            time.sleep(_POLL_S)


def is_locked(home: Path) -> bool:
    """Tell whether another process has the store of a home open."""
    import fcntl  # noqa: PLC0415 - absent on Windows

    with contextlib.suppress(FileNotFoundError), (home / "lock").open("rb") as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def require_node(home: Path) -> None:
    """Raise `UsageError` where `cis init` was not run."""
    if not Home(home).exists:
        raise UsageError(f"there is no node in {home} yet: run `cis init` first")


class RemoteNode:
    """Asks the daemon behind a control socket, one connection per request."""

    running = True

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it; nothing stays open between requests."""

    def call(self, request: Request[Reply]) -> Reply:
        """Answer a request."""
        patience_s = ANSWER_S + float(getattr(request, "timeout_s", 0.0))
        with self._asked(request, patience_s) as answer:
            body = answer.read()
        try:
            reply: Reply = msgspec.json.decode(body, type=reply_type(type(request)))
        except msgspec.MsgspecError:
            raise error_in(body) from None
        return reply

    def stream(self, request: Request[Reply]) -> Iterator[Reply]:
        """Answer a request that streams, asked when this returns; a line that holds a failure is raised."""
        replies = self._replies(request)
        next(replies)
        return replies

    def _replies(self, request: Request[Any]) -> Iterator[Any]:
        """Yield once when the node has begun to answer, then each reply."""
        decode = msgspec.json.Decoder(reply_type(type(request))).decode
        with self._asked(request, None) as answer:
            yield None
            for line in _lines(answer):
                if line.startswith(FAILURE):
                    raise error_in(line[len(FAILURE) : -1])
                try:
                    reply = decode(line)
                except msgspec.MsgspecError:
                    raise error_in(line) from None
                yield reply

    @contextlib.contextmanager
    def _asked(self, request: Request[Any], patience_s: float | None) -> Iterator[HTTPResponse]:
        connection = _UnixConnection(self._path, patience_s)
        try:
            connection.request("POST", f"/v1/{request.path}", msgspec.json.encode(request))
            answer = connection.getresponse()
            if answer.status != HTTPStatus.OK:
                raise error_in(answer.read())
            yield answer
        except TimeoutError as error:
            raise TimedOut(
                "the node did not answer in time: see its log, or restart it with `cis down`, `cis up`"
            ) from error
        except (HTTPException, OSError) as error:
            raise Unavailable("the node ended while it was asked: start it with `cis up`") from error
        finally:
            connection.close()


def _lines(answer: HTTPResponse) -> Iterator[bytes]:
    """Yield the lines of an answer; `readline` would take one that breaks off for one that ends."""
    rest = b""
    while data := answer.read1(_READ_BYTES):
        *lines, rest = (rest + data).split(b"\n")
        yield from lines


class _UnixConnection(HTTPConnection):
    """The standard library's client over a Unix socket; it loads in a fifth of the time of richer ones."""

    def __init__(self, path: Path, patience_s: float | None) -> None:
        super().__init__("cis", timeout=patience_s)
        self._path = path
        self._patience_s = patience_s

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(CONNECT_S)
        self.sock.connect(str(self._path))
        self.sock.settimeout(self._patience_s)


def error_in(body: bytes) -> CisError:
    """Return the error an answer tells of."""
    try:
        return error_of(msgspec.json.decode(body, type=Failure))
    except msgspec.MsgspecError:
        return CisError("the node answered what this version of cis does not know: restart it if cis was updated")
