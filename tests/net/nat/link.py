"""A line between a namespace and a bridge whose delay and loss can be set while it is in use; see `delaylink`."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Self

from tests.net.nat import delaylink
from tests.net.nat.delaylink import Weather
from tests.net.nat.namespaces import Namespace

_TUNSETIFF = 0x4004_54CA
_TAP_WITHOUT_HEADER = 0x0002 | 0x1000
_END_S = 5
_QUEUE = 10_000


class Link:
    """The line; ends with its context."""

    def __init__(self, namespace: Namespace, interface: str, to: Namespace, bridge: str, port: str) -> None:
        self._ends = (_tap(namespace, interface), _tap(to, port))
        namespace.ip(f"link set {interface} txqueuelen {_QUEUE}")
        to.ip(f"link set {port} txqueuelen {_QUEUE} master {bridge} up")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, str(Path(delaylink.__file__)), *map(str, self._ends), "1"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=self._ends)
        for end in self._ends:
            os.close(end)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(_END_S)
        self._process.stdout.close()

    def set(self, weather: Weather) -> tuple[int, int]:
        """From now on, this is what the line does; returns how many frames it has carried and lost so far."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(dataclasses.asdict(weather)).encode() + b"\n")
        self._process.stdin.flush()
        assert self._process.stdout is not None
        carried, lost = map(int, self._process.stdout.readline().split())
        return carried, lost


def _tap(namespace: Namespace, interface: str) -> int:
    with namespace.entered():
        descriptor = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", interface.encode(), _TAP_WITHOUT_HEADER))
    return descriptor
