"""Which TCP ports a process listens on, by the kernel's word; Linux tells, other systems are not asked."""

from __future__ import annotations

from pathlib import Path

_LISTENING = "0A"
_TABLES = ("tcp", "tcp6")


def listening_tcp(pid: int) -> tuple[int, ...] | None:
    """Return the ports, in order; None where the system does not say."""
    process = Path("/proc") / str(pid)
    try:
        links = {link for descriptor in (process / "fd").iterdir() if (link := _target(descriptor)) is not None}
        return tuple(sorted({port for name in _TABLES for port in _ports(process / "net" / name, links)}))
    except OSError:
        return None


def _target(descriptor: Path) -> str | None:
    """What a descriptor stands for; None where it was closed since it was listed."""
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:
        return None


def _ports(table: Path, links: set[str]) -> list[int]:
    """The listening ports of a table of the kernel whose sockets are among those descriptors."""
    if not table.exists():
        return []
    rows = [line.split() for line in table.read_text(encoding="ascii").splitlines()[1:]]
    return [
        int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == _LISTENING and f"socket:[{row[9]}]" in links
    ]
