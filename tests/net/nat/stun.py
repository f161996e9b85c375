"""A STUN client of the test bed's own (RFC 8489, RFC 5780), so that servers and routers are judged by other code."""

from __future__ import annotations

import os
import socket
import struct
import time

_COOKIE = 0x2112_A442
_BINDING = 0x0001
_SUCCESS = 0x0101
_CHANGE_REQUEST = 0x0003
_XOR_MAPPED_ADDRESS = 0x0020
_PATIENCE_S = 3.0
_AGAIN_S = 0.3

Address = tuple[str, int]


def mapped(sock: socket.socket, server: Address, *, change: int = 0, patience_s: float = _PATIENCE_S) -> Address | None:
    """Ask a server as whom it sees this socket; None where no answer comes.

    ``change`` is RFC 5780's: 4 has the answer come from another address, 2 from another port, 6 from both.
    """
    transaction = os.urandom(12)
    attributes = struct.pack("!HHI", _CHANGE_REQUEST, 4, change) if change else b""
    request = struct.pack("!HHI", _BINDING, len(attributes), _COOKIE) + transaction + attributes
    deadline = time.monotonic() + patience_s
    while (left_s := deadline - time.monotonic()) > 0:
        sock.settimeout(min(left_s, _AGAIN_S))
        try:
            sock.sendto(request, server)
            while True:
                answer = sock.recv(2048)
                if answer[8:20] == transaction and struct.unpack_from("!H", answer)[0] == _SUCCESS:
                    return _address_in(answer)
        except TimeoutError:
            continue
        except OSError:  # no route, or refused
            return None
    return None


def _address_in(answer: bytes) -> Address | None:
    at = 20
    while at + 4 <= len(answer):
        kind, size = struct.unpack_from("!HH", answer, at)
        if kind == _XOR_MAPPED_ADDRESS:
            port, number = struct.unpack_from("!HI", answer, at + 6)
            return socket.inet_ntoa(struct.pack("!I", number ^ _COOKIE)), port ^ (_COOKIE >> 16)
        at += 4 + (size + 3 & ~3)
    return None
