"""Serving one client over standard input and output, which the protocol has to itself.

The SDK moves both away while it serves, so that whatever else prints reaches stderr, and nothing else reads what the
client writes.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path

import anyio
from mcp.server.stdio import stdio_server

from cis.apps.mcp.scope import Scope
from cis.apps.mcp.server import MemoryServer


def serve_stdio(home: Path, scope: Scope) -> None:
    """Serve the client on standard input and output until it ends."""
    _log_to_stderr()
    # Nothing is lost by ending at once: what was acknowledged is durable, and a thread that reads cannot be woken.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        anyio.run(_converse, home, scope)
    except* (BrokenPipeError, anyio.BrokenResourceError):
        sys.stderr.write("the client went away while it was answered\n")


def _log_to_stderr() -> None:
    """Log as the daemon does: what that takes is loaded with the first thing to log, mostly never."""
    if os.environ.get("CIS_LOG"):
        _set_up()
    else:
        logging.getLogger().addHandler(_Waiting(logging.WARNING))


class _Waiting(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _set_up()
        logging.getLogger().handle(record)


def _set_up() -> None:
    from cis.api.telemetry.logs import set_up_logging

    set_up_logging()  # in place of all handlers there were


async def _converse(home: Path, scope: Scope) -> None:
    server = MemoryServer(home, scope).server()
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())
