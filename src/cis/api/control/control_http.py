"""HTTP on the control socket: requests of this user, and of nobody else."""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable

from cis.api.control.control_socket import is_same_user
from cis.api.http_serving import Answer, Asked, HttpServer

_log = logging.getLogger(__name__)

Answering = Callable[[str, str, bytes | None], Awaitable[Answer]]
"""Gets method, path and body, None for a body that is too large."""


class ControlServer(HttpServer):
    """Serves one control socket until `close`."""

    def __init__(self, answering: Answering, *, body_bytes_max: int) -> None:
        async def answer(asked: Asked) -> Answer:
            return await answering(asked.method, asked.path, asked.body)

        super().__init__(answer, body_bytes_max=body_bytes_max)

    def admits(self, connection: socket.socket | None) -> bool:
        """Let in the owner of this process."""
        if connection is not None and is_same_user(connection):
            return True
        _log.warning("a connection of another user to the control socket was refused")
        return False
