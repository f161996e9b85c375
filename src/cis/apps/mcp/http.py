"""Serving clients of this machine over streamable HTTP.

Every request carries a bearer token (RFC 6750), and its Host and Origin name this machine, so that no web page reaches
the memory through a browser, not by DNS rebinding either. It listens on loopback alone: the token would cross a
network in clear.
"""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import os
import re
import secrets
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import uvicorn
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from cis.api.control.client import require_node
from cis.api.telemetry.logs import set_up_logging
from cis.apps.mcp.scope import Scope
from cis.apps.mcp.server import MemoryServer
from cis.errors import Denied, Unavailable, UsageError

PATH = "/mcp"
TOKEN_FILE = "mcp-token"  # noqa: S105 - a file's name
TOKEN_BYTES = 32
SESSIONS_MAX = 64
"""Clients of the older protocol at once."""
CONNECTIONS_MAX = 128
END_S = 2
_ADDRESS = re.compile(r"(?:(?P<host>\[[0-9a-fA-F:]+\]|[^:\[\]]+)?:)?(?P<port>\d{1,5})")
_BEARER = b"bearer "


def serve_http(home: Path, scope: Scope, address: str, on_ready: Callable[[str, Path], None]) -> None:
    """Serve until stopped; ``on_ready`` is told the URL and the file that holds the token."""
    set_up_logging()
    host, port = address_of(address)
    require_node(home)
    token, file = token_of(home)
    with contextlib.closing(_listening(host, port)) as listener:
        port = listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        hosts = [f"{name}:{port}" for name in dict.fromkeys((shown, "127.0.0.1", "localhost", "[::1]"))]
        security = TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=[f"http://{name}" for name in hosts])
        app = (
            MemoryServer(home, scope)
            .server()
            .streamable_http_app(streamable_http_path=PATH, transport_security=security, max_sessions=SESSIONS_MAX)
        )
        config = uvicorn.Config(
            Gate(app, token),
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            limit_concurrency=CONNECTIONS_MAX,
            timeout_graceful_shutdown=END_S,
        )
        on_ready(f"http://{shown}:{port}{PATH}", file)
        uvicorn.Server(config).run(sockets=[listener])


class Gate:
    """Lets requests with the token through to an application, and answers all others itself."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, connection: Connection, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if connection["type"] == "http" and not self._admits(connection):
            refusal = PlainTextResponse("a bearer token is needed", 401, {"WWW-Authenticate": "Bearer"})
            await refusal(connection, receive, send)
            return
        await self._app(connection, receive, send)

    def _admits(self, connection: Connection) -> bool:
        given = [value for name, value in connection["headers"] if name == b"authorization"]
        if len(given) != 1 or not given[0].lower().startswith(_BEARER):
            return False
        return hmac.compare_digest(given[0][len(_BEARER) :].strip(), self._token)


def address_of(text: str) -> tuple[str, int]:
    """Return the host and port in ``PORT``, ``HOST:PORT`` or ``[V6]:PORT``; `UsageError` for a host elsewhere."""
    found = _ADDRESS.fullmatch(text)
    port = int(found["port"]) if found else 0
    if found is None or port > 0xFFFF:
        raise UsageError(f"--http {text!r} is no place to listen: write a port, or 127.0.0.1:PORT")
    host = (found["host"] or "127.0.0.1").strip("[]").replace("localhost", "127.0.0.1")
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise UsageError(
            f"--http {text}: it listens on this machine alone, as the token would cross a network in clear; for "
            "others, put a server that speaks TLS before it"
        )
    return host, port


def token_of(home: Path) -> tuple[str, Path]:
    """Return the token of a home, made where there is none, and its file; `Denied` where others may read it."""
    file = home / TOKEN_FILE
    with contextlib.suppress(FileExistsError):
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as opened:
            opened.write(secrets.token_urlsafe(TOKEN_BYTES) + "\n")
    found = file.lstat()
    if not stat.S_ISREG(found.st_mode) or (os.name == "posix" and found.st_mode & 0o077):
        raise Denied(f"{file} holds the token of MCP clients and is open to other users: run  chmod 600 {file}")
    token = file.read_text(encoding="ascii", errors="replace").strip()
    if len(token) < TOKEN_BYTES:
        raise Denied(f"{file} holds no token of at least {TOKEN_BYTES} characters: remove it, and one is made anew")
    return token, file


def _listening(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(CONNECTIONS_MAX)
    except OSError as error:
        listener.close()
        raise Unavailable(f"cannot listen at {host}, port {port}: {error.strerror or error}") from error
    return listener
