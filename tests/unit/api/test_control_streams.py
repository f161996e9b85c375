"""Streams over the control socket: they come as they are made, end when nobody reads, and never break off unnoticed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cis.api.control import server
from cis.api.control.client import RemoteNode
from cis.api.control.control_socket import bind_control
from cis.api.control.server import control_server
from cis.api.memories.memory_schema import ExportMemories, WatchMemories
from cis.api.peers.network_schema import GetStatus
from cis.errors import CisError, Unavailable

WAIT_S = 10.0
ROWS = 200
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/jsonl\r\nTransfer-Encoding: chunked\r\n\r\n"
LINE = b'{"n":1}\n'


class Rows:
    """A stream of rows, each made when the one before it is let go."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(1)
        self.made = 0
        self.left = threading.Event()

    def __call__(self, _: ExportMemories) -> Iterator[dict[str, Any]]:
        try:
            for number in range(ROWS):
                self.go.acquire(timeout=WAIT_S)
                self.made += 1
                yield {"n": number}
        finally:
            self.left.set()


@asynccontextmanager
async def serving(folder: Path, handler: Callable[[ExportMemories], Iterator[Any]]) -> AsyncIterator[Path]:
    path = folder / "home" / "control.sock"
    control = control_server({ExportMemories: handler})
    async with asyncio.TaskGroup() as group:
        group.create_task(control.run_on(bind_control(path)))
        yield path
        control.close()


async def test_what_comes_slowly_is_sent_as_it_comes_and_ends_when_nobody_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CHUNK_S", 0.0)
    rows = Rows()
    async with serving(tmp_path, rows) as path:

        def read_one() -> None:
            with contextlib.closing(RemoteNode(path).stream(ExportMemories())) as replies:  # type: ignore[type-var] # a generator
                assert next(replies) == {"n": 0}

        await asyncio.wait_for(asyncio.to_thread(read_one), WAIT_S)
        rows.go.release()
        assert await asyncio.to_thread(rows.left.wait, WAIT_S)
    assert rows.made <= 2


async def test_a_defect_in_a_stream_is_told_and_not_taken_for_its_end(tmp_path: Path) -> None:
    def broken(_: ExportMemories) -> Iterator[dict[str, Any]]:
        yield {"n": 0}
        raise ValueError("a defect")

    async with serving(tmp_path, broken) as path:
        with pytest.raises(CisError, match="defect of its own"):
            await asyncio.to_thread(lambda: list(RemoteNode(path).stream(ExportMemories())))


@contextlib.contextmanager
def answering(path: Path, answer: bytes) -> Iterator[RemoteNode]:
    """A socket that gives the first who asks that answer, and hangs up."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def run() -> None:
            connection, _ = listening.accept()
            with connection, connection.makefile("rb") as asked:
                length = 0
                while (line := asked.readline()) not in {b"\r\n", b""}:
                    name, _, value = line.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                asked.read(length)  # hanging up before would be a reset, which may overtake the answer
                connection.sendall(answer)

        thread = threading.Thread(target=run)
        thread.start()
        yield RemoteNode(path)
        thread.join()


@pytest.mark.parametrize("sent", [b"", b"8\r\n" + LINE + b"\r\n", b"8\r\n" + LINE[:5], b"10\r\n" + LINE])
def test_a_stream_that_breaks_off_is_not_taken_for_a_whole_one(tmp_path: Path, sent: bytes) -> None:
    with answering(tmp_path / "c.sock", HEAD + sent) as node, pytest.raises(Unavailable, match="ended"):
        list(node.stream(ExportMemories()))


def test_an_answer_of_another_version_is_told_as_that(tmp_path: Path) -> None:
    other = b"%x\r\n%s\r\n0\r\n\r\n" % (len(LINE), LINE)
    with answering(tmp_path / "a.sock", HEAD + other) as node, pytest.raises(CisError, match="restart it"):
        node.call(GetStatus())
    with answering(tmp_path / "b.sock", HEAD + other) as node, pytest.raises(CisError, match="restart it"):
        list(node.stream(WatchMemories()))


def test_lines_that_end_where_no_chunk_does_are_read_whole(tmp_path: Path) -> None:
    data = LINE * 3
    pieces = [data[at : at + 5] for at in range(0, len(data), 5)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    with answering(tmp_path / "c.sock", HEAD + chunks + b"0\r\n\r\n") as node:
        assert list(node.stream(ExportMemories())) == [{"n": 1}] * 3
