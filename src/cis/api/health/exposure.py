"""What a node shows to other programs: which TCP ports it listens on, by the kernel's word, and which it should.

Linux tells, other systems are not asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cis.api.health.doctor import Finding, Scene

_LISTENING = "0A"
_TABLES = ("tcp", "tcp6")


def exposed(scene: Scene) -> Finding | None:
    """Look for TCP ports the running node listens on that it should not."""
    if scene.node is None:
        return None
    if scene.node.pid is None:
        return "ok", "nothing: no node is running", ""
    ports = listening_tcp(scene.node.pid)
    if ports is None:
        return "warn", "cannot be seen on this system", "look with your system's tools: cis listens on UDP alone"
    metrics = _metrics_port(scene)
    if unknown := set(ports) - {*scene.node.dht_ports, *metrics}:
        return "bad", f"listens on TCP, as neither web nor metrics should: {sorted(unknown)}", "cis down"
    if metrics:
        return _metrics(scene)
    serving = "TCP at the DHT's port serves nothing" if ports else "no TCP port"
    return "ok", f"web and metrics are off{';' if ports else ':'} {serving}", ""


def _metrics_port(scene: Scene) -> tuple[int, ...]:
    if scene.settings is None or not scene.settings.metrics.enabled:
        return ()
    return (int(scene.settings.metrics.listen.rpartition(":")[2]),)


def _metrics(scene: Scene) -> Finding:
    if scene.settings is not None and scene.settings.metrics.allow_remote:
        fix = "cis config unset metrics.allow_remote, where no other machine asks for them"
        return "warn", "other machines may ask for metrics", fix
    return "ok", "metrics are told on this machine alone", ""


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
