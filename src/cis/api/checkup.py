"""``cis doctor``: whether the node runs, reaches its peers and keeps in step; a table as that of `cis.api.doctor`."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from cis.api.doctor import Checks, Finding, Scene, clock, examine, silent
from cis.api.doctor_schema import Row
from cis.api.reach_notes import notes_of
from cis.api.settings import inert
from cis.discovery.dht.options import INSTALL, installed
from cis.discovery.libp2p.provider import is_installed
from cis.discovery.plugins import GROUP as DISCOVERY
from cis.discovery.plugins import offered
from cis.reach.transports import GROUP as TRANSPORTS

FREE_BYTES_WARN = 1 << 30
FREE_BYTES_MIN = 64 << 20


def examine_health(folder: Path, *, reveal: bool = False) -> list[Row]:
    """Return a row for every check of how the node does; `UsageError` where there is no node at all."""
    return examine(folder, HEALTH, reveal=reveal)


def _node(scene: Scene) -> Finding | None:
    node = scene.node
    if node is None:
        return None
    if node.removed_by is not None:
        when = time.strftime(" %Y-%m-%d", time.localtime(node.removed_ms / 1000)) if node.removed_ms else ""
        by = f" by {node.removed_by}" if scene.reveal else ""
        return "bad", f"it was removed from its cluster{by}{when}", "an admin's `cis invite`, then `cis join` here"
    if not node.running:
        return "warn", "it is not running", "cis up --detach"
    return "ok", f"running, version {node.version}", ""


def _settings(scene: Scene) -> Finding | None:
    if scene.settings is None:
        return None
    if keys := inert(scene.settings):
        return "warn", f"set, and not acting in this version: {', '.join(keys)}", "cis config list --changed"
    return "ok", "all that are set act", ""


def _network(scene: Scene) -> Finding | None:
    if scene.settings is None:
        return None
    if not scene.settings.p2p.enabled:
        return (
            "warn",
            "off: this node opens no socket",
            "cis config set p2p.enabled true, then cis down; cis up --detach",
        )
    if scene.node is None or not scene.node.running:
        return None
    return "ok", "listening", ""


def _peers(scene: Scene) -> Finding | None:
    node = scene.node
    if node is None or not node.networking:
        return None
    others = [name for name in node.members if name != node.name]
    if not others:
        return "ok", "this node is alone in its cluster", ""
    found = f"{len(node.connected)} of {len(others)} connected"
    if node.connected:
        return "ok", found, ""
    return "warn", found, "cis p2p connect NAME says what fails; cis p2p netcheck says what the network lets through"


def _problems(scene: Scene) -> Finding | None:
    node = scene.node
    if node is None or not node.running:
        return None
    if not node.problems:
        return "ok", "none", ""
    listed = [f"{where}: {why}" for where, why in node.problems.items()]
    found = "; ".join(listed) if scene.reveal else f"{len(listed)} of late"
    return "warn", found, "cis status shows them; each goes once the peer connects, or after a day"


def _dht(scene: Scene) -> Finding | None:
    if scene.settings is None or not scene.settings.p2p.discovery.enable_dht:
        return None
    if not installed():
        fix = f"{INSTALL}, or cis config set p2p.discovery.enable_dht false"
        return "bad", "enabled, but libtorrent is not installed", fix
    if problem := scene.node.problems.get("dht") if scene.node is not None else None:
        return "warn", problem, "cis p2p dht status; cis p2p netcheck says more"
    return "ok", "on" if scene.node is not None and scene.node.running else "libtorrent is installed", ""


def _libp2p(scene: Scene) -> Finding | None:
    if scene.settings is None or not scene.settings.p2p.discovery.libp2p.enabled:
        return None
    if not is_installed():
        fix = "pip install 'cis-node[libp2p]', or cis config set p2p.discovery.libp2p.enabled false"
        return "bad", "enabled, but py-libp2p is not installed", fix
    return "ok", "py-libp2p is installed", ""


def _plugins(scene: Scene) -> Finding | None:
    if scene.settings is None:
        return None
    p2p = scene.settings.p2p
    groups = (("discovery", DISCOVERY, p2p.discovery.plugins), ("transport", TRANSPORTS, p2p.transports.plugins))
    named = [(f"cis-{kind}-{name}", name, group) for kind, group, tables in groups for name in sorted(tables)]
    if absent := [package for package, name, group in named if not offered(name, group)]:
        what = f"named in the settings, and not installed: {', '.join(absent)} (so named by custom)"
        return "warn", what, "install what offers them, or remove their tables"
    return ("ok", f"{len(named)} installed", "") if named else None


def _paths(scene: Scene) -> Finding | None:
    if scene.node is None or scene.node.reach is None:
        return None
    if relayed := scene.node.reach.relayed:
        return "warn", f"peers reached over a relay alone: {scene.some(relayed)}", "cis p2p connections --verbose"
    return "ok", "no peer is reached over a relay", ""


def _noted(scene: Scene, about: str, sound: str) -> Finding | None:
    """A check of one of the things that `notes_of` tells of."""
    if scene.node is None or scene.node.reach is None:
        return None
    note = next((one for one in notes_of(scene.node.reach) if one.about == about), None)
    return ("warn", note.found, note.fix) if note is not None else ("ok", sound, "")


def _stun(scene: Scene) -> Finding | None:
    return _noted(scene, "STUN", "configured")


def _relay(scene: Scene) -> Finding | None:
    held = scene.node is not None and scene.node.reach is not None and scene.node.reach.relay
    return _noted(scene, "relay", "one answers" if held else "none is known to be needed")


def _disk(scene: Scene) -> Finding:
    free = shutil.disk_usage(scene.home.folder).free
    found = f"{free >> 20} MiB free"
    if free < FREE_BYTES_WARN:
        return ("bad" if free < FREE_BYTES_MIN else "warn"), found, "make room where the home lies"
    return "ok", found, ""


def _search(scene: Scene) -> Finding | None:
    """Whether memories are found by meaning, too."""
    found = scene.embedding
    if found is None:
        return None
    if found.model is None:
        off = scene.settings is not None and scene.settings.memory.embedding.provider == "off"
        return "ok" if off else "warn", "by words alone", "" if off else found.advice
    if found.problem:
        return "warn", f"by words alone while {found.model} fails: {found.problem}", "cis memory model"
    waiting = f"; {found.waiting} memories wait for their vector" if found.waiting else ""
    return "ok", f"by words and meaning ({found.model}){waiting}", ""


HEALTH: Checks = (
    ("node", _node),
    ("settings", _settings),
    ("network", _network),
    ("peers", _peers),
    ("problems", _problems),
    ("DHT", _dht),
    ("libp2p", _libp2p),
    ("plugins", _plugins),
    ("paths", _paths),
    ("STUN", _stun),
    ("relay", _relay),
    ("members away", silent),
    ("clock", clock),
    ("search", _search),
    ("disk", _disk),
)
