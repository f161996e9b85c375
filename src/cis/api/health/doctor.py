"""``cis doctor --security``: a table of checks over one scene; each says how a thing is and what to type.

A check is a row of `CHECKS`; `checkup` has the table without ``--security``. Those over files need no node; those over
the cluster are left out where none opens, and why it does not is a row too. What is found is told without names, paths
and addresses unless asked for.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cis.api.configuration.settings import Settings, load
from cis.api.control.client import connect
from cis.api.health.doctor_schema import CheckStore, GetTrust, Integrity, Row, Status, TrustFacts
from cis.api.health.exposure import exposed
from cis.api.membership.keys import protection_of
from cis.api.memories.embedding_schema import Embedding, GetEmbedding
from cis.api.peers.gossip_schema import GetSyncStatus, SyncReport
from cis.api.peers.network_schema import GetStatus, NodeStatus
from cis.api.text import escaped, redacted
from cis.api.versions import cipher_versions
from cis.errors import CisError, UsageError
from cis.node.home.folder import Home
from cis.node.home.unlocking import has_keyring_key
from cis.trust.files import is_open
from cis.trust.keyfile import KeyringLock, StoredIdentity, read_identity

SILENT_DAYS_MAX = 30
SKEW_MS_WARN = 60_000
SKEW_MS_MAX = 600_000
"""Changes dated further ahead are held back."""
KEY_DAYS_MAX = 365
_DAY_MS = 86_400_000
_PLAIN_MAGIC = b"SQLite format 3\0"

Finding = tuple[Status, str, str]
"""How it is, what was found, what to type."""


@dataclass(frozen=True)
class Scene:
    """What is looked at; ``node`` is None where no node opens."""

    home: Home
    key: StoredIdentity | None
    settings: Settings | None
    node: NodeStatus | None
    facts: TrustFacts | None
    reveal: bool
    embedding: Embedding | None = None
    sync: SyncReport | None = None
    """how far members are in step; None where no node runs that could ask them"""
    integrity: Integrity | None = None
    """what a check of the whole store found, where it was asked for"""

    def some(self, names: Iterable[str]) -> str:
        """Return names, or how many there are."""
        listed = list(names)
        return ", ".join(listed) if self.reveal else str(len(listed))


Check = Callable[["Scene"], Finding | None]
Checks = tuple[tuple[str, Check], ...]


def examine_security(folder: Path, *, reveal: bool = False) -> list[Row]:
    """Return a row for every check of security that can be made; `UsageError` where there is no node at all."""
    return examine(folder, CHECKS, reveal=reveal)


def examine(folder: Path, checks: Checks, *, reveal: bool = False, deep: bool = False) -> list[Row]:
    """Return a row for every one of these checks that can be made; `UsageError` where there is no node at all.

    ``deep`` has the whole store verified first.
    """
    home = Home(folder)
    if not home.exists:
        raise UsageError(f"there is no node in {folder} yet: run `cis init` first")
    rows, key, settings, node, facts, embedding, sync, integrity = [], None, None, None, None, None, None, None
    try:
        settings = load(folder)
    except CisError as error:
        rows.append(Row(check="settings", status="bad", found="they do not load", fix=str(error)))
    try:
        key = read_identity(home.identity)
        with connect(folder) as asked:
            node, facts = asked.call(GetStatus()), asked.call(GetTrust())
            embedding = asked.call(GetEmbedding())
            sync = asked.call(GetSyncStatus()) if node.networking else None
            integrity = asked.call(CheckStore()) if deep else None
    except CisError as error:
        rows.append(Row(check="node", status="bad", found="it does not open", fix=str(error)))
    scene = Scene(home, key, settings, node, facts, reveal, embedding, sync, integrity)
    for name, check in checks:
        found = check(scene)
        if found is not None:
            rows.append(Row(check=name, status=found[0], found=found[1], fix=found[2]))
    return [_shown(row, scene) for row in rows]


def _shown(row: Row, scene: Scene) -> Row:
    """A row fit for others' eyes: the home as ~ where it lies there, no addresses or ids."""
    if scene.reveal:
        return row
    user = str(Path.home())
    found, fix = (redacted(escaped(text)).replace(user, "~") for text in (row.found, row.fix))
    return Row(check=row.check, status=row.status, found=found, fix=fix)


# --- files ------------------------------------------------------------------------------------------------------


def _modes(scene: Scene) -> Finding:
    wide = [path for path in _all_files(scene.home) if is_open(path)]
    if not wide:
        return "ok", "home 0700, files in it their owner's alone", ""
    private = {scene.home.folder, *scene.home.private_files()}
    status: Status = "bad" if private.intersection(wide) else "warn"
    return status, f"open to other users: {scene.some(path.name for path in wide)}", _closing(scene.home)


def _owner(scene: Scene) -> Finding | None:
    if os.name != "posix":
        return None
    foreign = [path for path in _all_files(scene.home) if path.lstat().st_uid != os.getuid()]
    if not foreign:
        return "ok", "all yours", ""
    return "bad", f"of another user: {scene.some(path.name for path in foreign)}", f"chown -R $USER {scene.home.folder}"


def _sealed(scene: Scene) -> Finding:
    plain = [path.name for path in (scene.home.store, scene.home.folder / "index.db") if _head(path) == _PLAIN_MAGIC]
    if plain:
        return "bad", f"not encrypted: {', '.join(plain)}", "cis key backup FILE, then restore it in a new home"
    return "ok", "both files page-encrypted, the key wrapped by the identity", ""


def _socket(scene: Scene) -> Finding:
    path = scene.home.socket
    if not path.exists():
        return "ok", "none: no node is running", ""
    folder, status = path.parent.lstat(), path.lstat()
    if not stat.S_ISSOCK(status.st_mode) or {folder.st_uid, status.st_uid} != {os.getuid()}:
        return "bad", "not a socket of yours", f"cis down; rm {path}; cis up --detach"
    if is_open(path.parent) or is_open(path):
        return "bad", "open to other users", f"chmod 700 {path.parent} && chmod 600 {path}"
    return "ok", "0600 in a folder 0700, yours", ""


# --- the key ----------------------------------------------------------------------------------------------------


def _protection(scene: Scene) -> Finding | None:
    if scene.key is None:
        return None
    match protection_of(scene.key.lock):
        case "file":
            return "warn", "in a file: whoever copies this disk is this node", "cis key passwd"
        case "passphrase":
            return "ok", "under a passphrase", ""
        case "keyring":
            return "ok", "under a key in the system's keyring", ""


def _keyring(scene: Scene) -> Finding | None:
    if scene.key is None or not isinstance(scene.key.lock, KeyringLock):
        return None
    if has_keyring_key(scene.key.lock):
        return "ok", "holds this node's key", ""
    return "bad", "holds no key for this node", "unlock it, or restore a backup: cis key restore FILE"


# --- the cluster ------------------------------------------------------------------------------------------------


def _admins(scene: Scene) -> Finding | None:
    if scene.facts is None:
        return None
    admins, members = scene.facts.admins, scene.facts.members
    found = f"{scene.some(admins)} of {members} members"
    if len(admins) == 1 and members > 1:
        return "warn", f"{found}: none is left if it is lost", "cis acl grant NODE admin"
    return "ok", found, ""


def _recovery(scene: Scene) -> Finding | None:
    if scene.facts is None:
        return None
    if scene.facts.recovery:
        return "ok", "this cluster has one, printed once by `cis init`: keep it offline", ""
    return "warn", "this cluster was founded without one", "cis key backup FILE on an admin's node, kept elsewhere"


def renewal(scene: Scene) -> Finding | None:
    """Look for keys that a removed member knows."""
    if scene.facts is None:
        return None
    if scene.facts.unrenewed:
        spaces = scene.some(scene.facts.unrenewed)
        fix = "connect an admin's node (cis p2p connect NODE), or there: cis acl rotate"
        return "bad", f"known to a removed member: {spaces}", fix
    return "ok", f"none is known to a removed member ({scene.facts.removed} removed)", ""


def _age(scene: Scene) -> Finding | None:
    if scene.facts is None:
        return None
    days = max(0, scene.facts.now_ms - scene.facts.renewed_ms) // _DAY_MS
    if days > KEY_DAYS_MAX:
        return "warn", f"last renewed {days} days ago", "cis acl rotate"
    return "ok", f"last renewed {days} days ago", ""


def lacking(scene: Scene) -> Finding | None:
    """Look for members without keys they are entitled to."""
    if scene.facts is None:
        return None
    if scene.facts.lacking:
        fix = "an admin's node mends it by itself: connect one (cis p2p connect NODE)"
        return "warn", f"members that lack keys: {scene.some(scene.facts.lacking)}", fix
    return "ok", "every member has the keys it is entitled to", ""


def _tickets(scene: Scene) -> Finding | None:
    if scene.facts is None:
        return None
    expires = scene.facts.tickets_ms
    if not expires:
        return "ok", "none is live", ""
    last = time.strftime("%Y-%m-%d %H:%M", time.localtime(expires[-1] / 1000))
    return "warn", f"{len(expires)} live, the last until {last}", "whoever holds one may join: let it expire or use it"


def _access(scene: Scene) -> Finding | None:
    if scene.settings is None:
        return None
    acl = scene.settings.p2p.acl.parsed()
    lists = f"{len(acl.allowed)} allowed, {len(acl.denied)} denied"
    return "ok", f"mode {acl.mode.value}: {lists}", ""


def silent(scene: Scene) -> Finding | None:
    """Look for members that have been away for long."""
    if scene.facts is None:
        return None
    away = [name for name, days in scene.facts.silent_days.items() if days > SILENT_DAYS_MAX]
    if away:
        fix = "cis acl revoke NODE for those that are lost"
        return "warn", f"not heard of for {SILENT_DAYS_MAX} days: {scene.some(away)}", fix
    return "ok", f"none has been away for {SILENT_DAYS_MAX} days", ""


def clock(scene: Scene) -> Finding | None:
    """Compare this node's clock with those of members."""
    if scene.facts is None:
        return None
    skews = scene.facts.skews_ms
    if not skews:
        return "ok", "compared with no member: none is connected", ""
    off = [name for name, skew in skews.items() if abs(skew) > SKEW_MS_WARN]
    worst = max(map(abs, skews.values()))
    if not off:
        return "ok", f"within {worst / 1000:.1f} s of {len(skews)} members", ""
    status: Status = "bad" if worst > SKEW_MS_MAX else "warn"
    fix = "set the clock: timedatectl set-ntp true, here or there"
    return status, f"{worst / 1000:.0f} s apart from members: {scene.some(off)}", fix


def _libraries(_: Scene) -> Finding:
    versions, old = cipher_versions()
    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    return ("bad", f"too old: {old}; {text}", "update cis and what it needs") if old else ("ok", text, "")


CHECKS: Checks = (
    ("file modes", _modes),
    ("file owner", _owner),
    ("store", _sealed),
    ("control socket", _socket),
    ("key", _protection),
    ("keyring", _keyring),
    ("admins", _admins),
    ("recovery key", _recovery),
    ("keys of the cluster", renewal),
    ("age of the keys", _age),
    ("keys members have", lacking),
    ("tickets", _tickets),
    ("access list", _access),
    ("members away", silent),
    ("clock", clock),
    ("web and metrics", exposed),
    ("libraries", _libraries),
)


def _all_files(home: Home) -> list[Path]:
    return [home.folder, *sorted(home.folder.iterdir())]


def _closing(home: Home) -> str:
    return f"chmod -R go-rwx {home.folder}"


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(len(_PLAIN_MAGIC))
    except OSError:
        return b""
