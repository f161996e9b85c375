"""Checks of the machine a node lives on: what runs it, who holds its store, its port, its networks, its disk."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from cis.api.control.client import is_locked
from cis.api.health.disk import FREE_BYTES_MIN, FREE_BYTES_WARN, free_bytes
from cis.api.versions import cipher_versions

if TYPE_CHECKING:
    from cis.api.health.doctor import Finding, Scene

_FLOCK = "FLOCK"


def environment(_: Scene) -> Finding:
    """Look at what runs cis."""
    text = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    old = cipher_versions()[1]
    return ("bad", f"{text}; too old: {old}", "update cis and what it needs") if old else ("ok", text, "")


def lock(scene: Scene) -> Finding | None:
    """Look who has the store open where no node answers."""
    if scene.node is not None or not is_locked(scene.home.folder):
        return None
    holder = holder_of(scene.home.folder / "lock")
    if holder is None:
        return "bad", "another process has the store open, and answers nothing", "find it, e.g. with  ps aux | grep cis"
    return "bad", f"process {holder} has the store open, and answers nothing", f"see what it is: ps -p {holder}"


def holder_of(path: Path) -> int | None:
    """Return the process that holds a lock on a file, by Linux's table; None where that does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        status = path.stat()
        place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            fields = line.split()
            if fields[1] == _FLOCK and fields[5] == place:
                return int(fields[4])
    return None


def port(scene: Scene) -> Finding | None:
    """Try to listen where the node would; no packet is sent."""
    if scene.settings is None or not scene.settings.p2p.enabled or (scene.node is not None and scene.node.running):
        return None
    host, number = scene.settings.p2p.listen_address, scene.settings.p2p.listen_port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as tried:
            tried.bind((host, number))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            fix = f"ss -ulpn 'sport = :{number}' names it; or cis config set p2p.listen_port 0, for any port"
            return "bad", f"another program listens on UDP port {number}", fix
        if family == socket.AF_INET:
            fix = "cis config set p2p.listen_address 0.0.0.0, for all that there are"
            return "bad", f"this machine does not have the address to listen on: {error.strerror}", fix
    return "ok", f"UDP port {number or 'of any number'} is free", ""


def interfaces(scene: Scene) -> Finding | None:
    """Look whether there is any network besides the machine's own."""
    if scene.settings is None or not scene.settings.p2p.enabled:
        return None
    import ifaddr  # noqa: PLC0415 - few commands need it

    ips = [ip.ip if isinstance(ip.ip, str) else ip.ip[0] for one in ifaddr.get_adapters() for ip in one.ips]
    outward = [ip for ip in ips if not ip.startswith(("127.", "fe80:")) and ip != "::1"]
    if not outward:
        return "warn", "this machine has no address but its own loopback", "connect it to a network: ip address"
    kinds = [name for name, is_six in (("IPv4", False), ("IPv6", True)) if any((":" in ip) is is_six for ip in outward)]
    return "ok", f"{len(outward)} addresses, of {' and '.join(kinds)}", ""


def disk(scene: Scene) -> Finding:
    """Look how much room is left."""
    free = free_bytes(scene.home.folder)
    found = f"{free >> 20} MiB free"
    if free < FREE_BYTES_WARN:
        return ("bad" if free < FREE_BYTES_MIN else "warn"), found, "make room where the home lies: df -h"
    return "ok", found, ""
