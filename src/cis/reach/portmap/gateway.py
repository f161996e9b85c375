"""The default gateway, the one router that can map a port for us, and our own address towards it (IPv4).

Linux says it in ``/proc/net/route``; macOS, the BSDs and Windows by their ``route`` command. Where neither names
a gateway (a tunnel as the default route, no network) the answer is None.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

_PROC_ROUTE = Path("/proc/net/route")
_UP_AND_GATEWAY = 0x3
_COMMAND_TIMEOUT_S = 2.0
_UNIX_COMMAND = ("route", "-n", "get", "default")
_WINDOWS_COMMAND = ("route", "print", "-4", "0.0.0.0")  # noqa: S104 - the default route's name, nothing binds to it
_UNIX_LINE = re.compile(r"^\s*gateway:\s*(\S+)\s*$", re.MULTILINE)
_WINDOWS_LINE = re.compile(r"^\s*0\.0\.0\.0\s+0\.0\.0\.0\s+(\S+)\s+\S+\s+(\d{1,9})\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Gateway:
    """The router's address on our side, and ours towards it."""

    address: str
    own: str


async def default_gateway() -> Gateway | None:
    """The gateway of the default route, if there is one."""
    address = await _address()
    own = own_address(address) if address is not None else None
    return Gateway(address, own) if address is not None and own is not None else None


def own_address(towards: str) -> str | None:
    """The address this machine would send from; sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((towards, 9))
        except OSError:
            return None
        host: str = probe.getsockname()[0]
        return host


async def _address(platform: str = sys.platform) -> str | None:
    if platform == "linux":
        return gateway_in_proc(_proc_route())
    if platform == "win32":
        return gateway_in_windows(await _output(_WINDOWS_COMMAND))
    return gateway_in_unix(await _output(_UNIX_COMMAND))


def _proc_route() -> str:
    try:
        return _PROC_ROUTE.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


async def _output(command: tuple[str, ...]) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError:
        return ""
    try:
        async with asyncio.timeout(_COMMAND_TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        return ""
    return output.decode("utf-8", "replace")


def gateway_in_proc(text: str) -> str | None:
    """The gateway of the default route with the lowest metric in the text of ``/proc/net/route``."""
    found: list[tuple[int, str]] = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        try:
            destination, gateway, flags, mask = (int(fields[index], 16) for index in (1, 2, 3, 7))
            metric = int(fields[6])
        except (IndexError, ValueError):
            continue
        default = destination == 0 and mask == 0 and flags & _UP_AND_GATEWAY == _UP_AND_GATEWAY
        if default and 0 < gateway < 1 << 32:
            found.append((metric, socket.inet_ntoa(struct.pack("=I", gateway))))
    return min(found, key=lambda entry: entry[0])[1] if found else None


def gateway_in_unix(text: str) -> str | None:
    """The gateway in what ``route -n get default`` prints."""
    match = _UNIX_LINE.search(text)
    return _ipv4(match[1]) if match else None


def gateway_in_windows(text: str) -> str | None:
    """The gateway with the lowest metric in what ``route print -4 0.0.0.0`` prints."""
    lines = [(int(match[2]), _ipv4(match[1])) for match in _WINDOWS_LINE.finditer(text)]
    found = [(metric, gateway) for metric, gateway in lines if gateway is not None]
    return min(found, key=lambda entry: entry[0])[1] if found else None


def _ipv4(text: str) -> str | None:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        return None
