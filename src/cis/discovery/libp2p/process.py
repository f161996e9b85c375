"""The worker as the node sees it: a child process that takes and gives messages, and is trusted with nothing.

What it says is bounded before it is read. It gets no environment but what a Python needs to start, and is killed, not
asked, when it is of no more use: it holds nothing worth saving. ::

    async with started(COMMAND) as worker:
        await worker.send(Begin(…))
        message = await worker.receive()        # Unavailable when it ended, or made no sense
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Sequence
from pathlib import Path

from cis.discovery.libp2p.messages import (
    HEADER_LENGTH,
    TO_NODE_BYTES_MAX,
    ToNode,
    ToWorker,
    framed,
    length_of,
    to_node,
)
from cis.errors import PeerFault, Unavailable

COMMAND = (sys.executable, "-s", "-P", "-m", "cis.discovery.libp2p.worker")
SEND_S = 10.0
"""A worker that takes no message for so long is stuck."""
END_S = 1.0
"""How long a worker that closed its stdout has to end."""
LINES_MAX = 50
"""Lines of its stderr that reach the log of one process."""
_LINE_BYTES_MAX = 4096
_WORDS_MAX = 24
_KEPT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR")
_WORD = re.compile(r"[A-Za-z_]{1,40}[.,:;()]{0,2}|[0-9]{1,5},")

_log = logging.getLogger(__name__)


class Worker:
    """A running worker."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.pid = process.pid
        self._in = process.stdin
        self._out = process.stdout
        self._err = process.stderr
        self.ended = False
        """Whether it closed its stdout"""

    async def send(self, message: ToWorker) -> None:
        """Hand it a message; `Unavailable` where it takes none."""
        try:
            async with asyncio.timeout(SEND_S):
                self._in.write(framed(message))
                await self._in.drain()
        except (OSError, TimeoutError) as error:
            raise Unavailable("the libp2p process takes no more messages") from error

    async def receive(self) -> ToNode:
        """Return its next message; `Unavailable` where it ended, or what it said is none."""
        try:
            header = await self._out.readexactly(HEADER_LENGTH)
            return to_node(await self._out.readexactly(length_of(header, bytes_max=TO_NODE_BYTES_MAX)))
        except (asyncio.IncompleteReadError, OSError) as error:
            self.ended = True
            raise Unavailable("the libp2p process ended by itself") from error
        except PeerFault as fault:
            raise Unavailable("the libp2p process said what it never should") from fault

    async def log(self) -> None:
        """Put what it complains of in the debug log until it ends; read on when that is enough, so it never waits."""
        lines, rest = 0, b""
        while part := await self._err.read(_LINE_BYTES_MAX):
            *whole, rest = (rest + part).split(b"\n")
            rest = rest[:_LINE_BYTES_MAX]
            for line in whole[: LINES_MAX - lines]:
                lines += 1
                _log.debug("the libp2p process: %s", words_of(line))


@contextlib.asynccontextmanager
async def started(command: Sequence[str]) -> AsyncIterator[Worker]:
    """A worker, killed at the end; `Unavailable` where it does not start."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=TO_NODE_BYTES_MAX,
            cwd=Path(sys.executable).anchor,
            env={name: os.environ[name] for name in _KEPT if name in os.environ},
            start_new_session=True,
        )
    except OSError as error:
        raise Unavailable(f"the libp2p process does not start: {error.strerror}") from error
    worker = Worker(process)
    try:
        yield worker
    finally:
        await _end(process, by_itself=worker.ended)


async def _end(process: asyncio.subprocess.Process, *, by_itself: bool) -> None:
    """Kill it, unless it is ending by itself, and see it gone, which asyncio does once its pipes have been read out."""
    if by_itself:
        await _within_end(process.wait())
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            await _within_end(_read_out(pipe))
    await _within_end(process.wait())


async def _read_out(pipe: asyncio.StreamReader) -> None:
    while await pipe.read(_LINE_BYTES_MAX):
        pass


async def _within_end(work: Awaitable[object]) -> None:
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(END_S):
            await work


def words_of(line: bytes) -> str:
    """Return the plain words of a line: no numbers, names with dots, paths or ids, so no address is among them."""
    words = line[:_LINE_BYTES_MAX].decode("ascii", "replace").split()
    return " ".join(word for word in words[:_WORDS_MAX] if _WORD.fullmatch(word))
