"""The client of a node: the daemon over its control socket where one answers, else the store itself.

::

    with connect(home_of(None)) as node:
        node.call(SetMemory(key="editor", value="dark mode"))
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, Self

import msgspec

from cis.api.protocol import Failure, Reply, Request, error_of, reply_type
from cis.errors import CisError, StoreError, TimedOut, Unavailable, UsageError
from cis.node.home import Home

NO_DAEMON = "no node is running here: start it with `cis up`"
CONNECT_S = 5.0
LOCKED_S = 3.0
"""How long a command waits for another that has the store open."""
_POLL_S = 0.02
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
    _require_node(home)
    raise Unavailable(NO_DAEMON)


def connect_daemon(home: Path) -> RemoteNode | None:
    """Return the running node, None where none answers."""
    path = Home(home).socket
    if not path.exists():
        return None
    import socket  # noqa: PLC0415 - most commands without a daemon need none

    with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
        probe.settimeout(CONNECT_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        except OSError as error:
            raise Unavailable(f"the node's control socket {path} does not answer: {error.strerror or error}") from error
    return RemoteNode(path)


def open_store(home: Path) -> Node:
    """Open the store of a home in this process."""
    from cis.api.embedded import EmbeddedNode  # noqa: PLC0415 - opens databases, which the client of a daemon does not
    from cis.crdt import Policy  # noqa: PLC0415 - as above
    from cis.node.local import LocalNode  # noqa: PLC0415 - as above

    _require_node(home)
    policy = Policy.CRDT
    if Home(home).config.exists() or any(name.upper().startswith("CIS_P2P") for name in os.environ):
        from cis.api.settings import load  # noqa: PLC0415 - pydantic takes as long as all else together

        policy = Policy(load(home).p2p.sync.conflict_resolution)
    deadline = time.monotonic() + LOCKED_S
    while True:
        try:
            return EmbeddedNode(LocalNode.open(Home(home)), policy)
        except StoreError:
            if not is_locked(home) or time.monotonic() > deadline:
                raise
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


def _require_node(home: Path) -> None:
    if not Home(home).exists:
        raise UsageError(f"there is no node in {home} yet: run `cis init` first")


class RemoteNode:
    """Asks the daemon behind a control socket."""

    running = True

    def __init__(self, socket_path: Path) -> None:
        import httpx  # noqa: PLC0415 - 100 ms that commands without a daemon do not pay

        self._httpx = httpx
        self._client = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(socket_path)),
            base_url="http://cis",
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def call(self, request: Request[Reply]) -> Reply:
        """Answer a request."""
        patience_s = ANSWER_S + float(getattr(request, "timeout_s", 0.0))
        with self._translated():
            answer = self._client.post(f"/v1/{request.path}", content=msgspec.json.encode(request), timeout=patience_s)
        if answer.is_error:
            raise _error_in(answer.content)
        reply: Reply = msgspec.json.decode(answer.content, type=reply_type(type(request)))
        return reply

    def stream(self, request: Request[Reply]) -> Iterator[Reply]:
        """Answer a request that streams; a line that holds a failure is raised."""
        decode = msgspec.json.Decoder(reply_type(type(request))).decode
        body = msgspec.json.encode(request)
        patience = self._httpx.Timeout(None, connect=CONNECT_S)
        with (
            self._translated(),
            self._client.stream("POST", f"/v1/{request.path}", content=body, timeout=patience) as answer,
        ):
            if answer.is_error:
                raise _error_in(answer.read())
            for line in _lines(answer.iter_bytes()):
                if line.startswith(b'{"failure":'):
                    raise _error_in(line[len(b'{"failure":') : -1])
                if line:
                    yield decode(line)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._httpx.TimeoutException as error:
            raise TimedOut(
                "the node did not answer in time: see its log, or restart it with `cis down`, `cis up`"
            ) from error
        except self._httpx.TransportError as error:
            raise Unavailable("the node ended while it was asked: start it with `cis up`") from error


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Split at newlines alone: JSON may hold other characters that some take for line ends."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    if rest:
        raise Unavailable("the node ended in the middle of its answer: start it with `cis up`")


def _error_in(body: bytes) -> CisError:
    try:
        return error_of(msgspec.json.decode(body, type=Failure))
    except msgspec.MsgspecError:
        return CisError("the node answered with something that is no cis: another program uses its control socket")
