"""``cis doctor``: whether the node runs, reaches its peers and keeps in step; a table as that of `doctor`."""

from __future__ import annotations

import time
from pathlib import Path

from cis.api.health.doctor import Checks, Finding, Scene, clock, examine, lacking, renewal, silent
from cis.api.health.doctor_schema import Row
from cis.api.health.machine_checks import disk, environment, interfaces, lock, port
from cis.api.peers.reach_notes import notes_of
from cis.discovery.dht.options import INSTALL, installed
from cis.discovery.libp2p.provider import is_installed
from cis.discovery.plugins import GROUP as DISCOVERY
from cis.discovery.plugins import offered
from cis.reach.transports import GROUP as TRANSPORTS


def examine_health(folder: Path, *, reveal: bool = False, deep: bool = False) -> list[Row]:
    """Return a row for every check of how the node does; `UsageError` where there is no node at all.

    ``deep`` has the whole store verified, too.
    """
    return examine(folder, HEALTH, reveal=reveal, deep=deep)


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
    return "ok", "they load", ""


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


def _mdns(scene: Scene) -> Finding | None:
    if scene.settings is None or not scene.settings.p2p.enabled:
        return None
    if not scene.settings.p2p.discovery.enable_mdns:
        return "ok", "off: devices on this network are not found by it", ""
    failing = _failing(scene, "mdns")
    if failing:
        fix = "cis p2p netcheck; where multicast is blocked: cis p2p connect NAME@HOST:PORT"
        return "warn", f"fails on {len(failing)} networks: {'; '.join(sorted(set(failing)))}", fix
    return "ok", "on", ""


def _static(scene: Scene) -> Finding | None:
    peers = scene.settings.p2p.peers.parsed() if scene.settings is not None else ()
    return ("ok", f"{len(peers)} configured", "") if peers else None


def _anchor(scene: Scene) -> Finding | None:
    if scene.node is None or scene.node.reach is None or not scene.node.reach.anchors:
        return None
    reach = scene.node.reach
    if reach.anchors_up < reach.anchors:
        found = f"{reach.anchors_up} of {reach.anchors} answer"
        return "warn", found, "cis p2p netcheck says why; cis config get p2p.cloud_anchor.endpoint"
    return "ok", f"{reach.anchors} answer", ""


def _failing(scene: Scene, provider: str) -> list[str]:
    """Why a way of finding nodes does not work, where it does not."""
    problems = scene.node.problems if scene.node is not None else {}
    return [why for place, why in problems.items() if place.partition(" ")[0] == provider]


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


def _nat(scene: Scene) -> Finding | None:
    """What the NAT here does, as far as the servers that were asked show it."""
    if scene.node is None or scene.node.reach is None or scene.node.reach.mapping is None:
        return None
    reach = scene.node.reach
    opened = "; the router forwards a port" if reach.forwarded else ""
    return "ok", f"its mapping is {reach.mapping}{opened}", ""


def _relay(scene: Scene) -> Finding | None:
    held = scene.node is not None and scene.node.reach is not None and scene.node.reach.relay
    return _noted(scene, "relay", "one answers" if held else "none is known to be needed")


def _in_step(scene: Scene) -> Finding | None:
    """Whether the members that are connected hold the same."""
    if scene.sync is None or not scene.sync.members:
        return None
    failing = [one.name for one in scene.sync.members if one.connected and not one.asked]
    if failing:
        return "warn", f"connected, and do not say what they hold: {scene.some(failing)}", "cis p2p sync-status"
    asked = [one for one in scene.sync.members if one.asked]
    behind = [one.name for one in asked if not one.syncing and any(not space.in_step for space in one.spaces)]
    if behind:
        return "warn", f"not in step with this node: {scene.some(behind)}", "cis p2p sync, then cis p2p sync-status"
    if scene.sync.bodies_missing:
        found = f"{scene.sync.bodies_missing} memories came without their value"
        return "warn", found, "cis p2p sync --full fetches them from whoever holds them"
    if not asked:
        return "ok", "compared with no member: none is connected", ""
    return "ok", f"{len(asked)} of {len(scene.sync.members)} other members asked, and in step", ""


def _integrity(scene: Scene) -> Finding | None:
    found = scene.integrity
    if found is None:
        return None
    if found.complaints:
        fix = "stop the node, move memory.db away, and restore a copy; or join anew: the others send what they hold"
        return "bad", f"the file is damaged: {len(found.complaints)} complaints of SQLite", fix
    if found.damaged or found.wrong:
        said = f"{found.damaged} runs of changes damaged, {found.wrong} memories shown wrongly"
        return "bad", said, "cis p2p sync --full fetches them from a peer and mends the rest"
    return "ok", f"{found.changes} changes are what their authors signed", ""


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


def _kept(scene: Scene) -> Finding | None:
    """Whether what this device leaves to others is kept by somebody."""
    if scene.node is None or not scene.node.elsewhere:
        return None
    if scene.node.unbacked:
        found = f"not everything is to be kept, and nobody is known who does, of: {scene.some(scene.node.unbacked)}"
        return "warn", found, "connect a member that keeps everything; until then all stays here: cis space list"
    return "ok", f"{sum(scene.node.elsewhere.values())} bodies are on other devices by choice: cis space list", ""


HEALTH: Checks = (
    ("environment", environment),
    ("node", _node),
    ("store lock", lock),
    ("settings", _settings),
    ("network", _network),
    ("port", port),
    ("addresses", interfaces),
    ("peers", _peers),
    ("in step", _in_step),
    ("problems", _problems),
    ("mDNS", _mdns),
    ("static peers", _static),
    ("anchor", _anchor),
    ("DHT", _dht),
    ("libp2p", _libp2p),
    ("plugins", _plugins),
    ("paths", _paths),
    ("STUN", _stun),
    ("NAT", _nat),
    ("relay", _relay),
    ("members away", silent),
    ("clock", clock),
    ("keys of the cluster", renewal),
    ("keys members have", lacking),
    ("search", _search),
    ("kept here", _kept),
    ("store", _integrity),
    ("disk", disk),
)
