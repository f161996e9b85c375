"""Forget every flow of this namespace's connection tracking, as its own netlink family is asked to."""

from __future__ import annotations

import os
import socket
import struct

_NETLINK_NETFILTER = 12
_DELETE_FLOWS = (1 << 8) | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE: all of them where none is named
_REQUEST_ACK = 0x1 | 0x4
_ERROR = 2


def flush() -> None:
    """Forget all flows; raises OSError where the kernel will not."""
    body = struct.pack("=BBH", socket.AF_UNSPEC, 0, 0)
    head = struct.pack("=IHHII", 16 + len(body), _DELETE_FLOWS, _REQUEST_ACK, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as asking:
        asking.settimeout(2)
        asking.send(head + body)
        answer = asking.recv(4096)
    kind, code = struct.unpack_from("=H", answer, 4)[0], struct.unpack_from("=i", answer, 16)[0]
    if kind != _ERROR or code:
        raise OSError(-code, os.strerror(-code))
