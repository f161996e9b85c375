"""Every check of `cis doctor --security` can turn, says what to type then, and tells no more than it was asked."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from cis.api.configuration.settings import load
from cis.api.control.control_socket import bind_control
from cis.api.health import doctor, exposure
from cis.api.health.doctor import CHECKS, Scene, examine_security
from cis.api.health.doctor_schema import TrustFacts
from cis.api.health.exposure import listening_tcp
from cis.api.peers.network_schema import NodeStatus
from cis.errors import UsageError
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.trust.keyfile import KeyringLock, StoredIdentity, read_identity

DAY_MS = 86_400_000
FACTS = TrustFacts(
    members=3,
    admins=("laptop", "desk"),
    removed=0,
    recovery=True,
    unrenewed=(),
    lacking=(),
    renewed_ms=0,
    now_ms=DAY_MS,
    tickets_ms=(),
    silent_days={"phone": 2},
    skews_ms={"phone": 20},
)
STATUS = NodeStatus(
    running=True, name="laptop", did="", cluster="", role="admin", home="", version="", members=(), memories=0
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = Home(tmp_path_factory.mktemp("doctor") / "home")
    LocalNode.create(home, "laptop").close()
    return home.folder


@pytest.fixture
def scene(folder: Path) -> Scene:
    home = Home(folder)
    return Scene(home, read_identity(home.identity), load(folder), STATUS, FACTS, reveal=False)


def finding(scene: Scene, name: str) -> tuple[str, str, str]:
    found = dict(CHECKS)[name](scene)
    assert found is not None, "a check that is left out"
    return found


def test_a_fresh_home_has_nothing_bad(folder: Path) -> None:
    rows = examine_security(folder)
    assert {row.status for row in rows} <= {"ok", "warn"}
    assert {row.check for row in rows} == {name for name, _ in CHECKS} - {"keyring"}


def test_whatever_is_not_ok_says_what_to_type(folder: Path) -> None:
    assert [row.check for row in examine_security(folder) if (row.status == "ok") == bool(row.fix)] == []


def test_a_home_without_a_node_is_a_wrong_request(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cis init"):
        examine_security(tmp_path)


_TURNED = [
    ("admins", {"admins": ("laptop",)}, "warn", "cis acl grant"),
    ("recovery key", {"recovery": False}, "warn", "cis key backup"),
    ("keys of the cluster", {"unrenewed": ("public",)}, "bad", "cis acl rotate"),
    ("age of the keys", {"now_ms": 400 * DAY_MS}, "warn", "cis acl rotate"),
    ("keys members have", {"lacking": ("phone",)}, "warn", "admin"),
    ("tickets", {"tickets_ms": (DAY_MS,)}, "warn", "expire"),
    ("members away", {"silent_days": {"phone": 31}}, "warn", "cis acl revoke"),
    ("clock", {"skews_ms": {"phone": -90_000}}, "warn", "set the clock"),
    ("clock", {"skews_ms": {"phone": 700_000}}, "bad", "set the clock"),
]


@pytest.mark.parametrize(("name", "facts", "status", "fix"), _TURNED)
def test_what_is_known_of_the_cluster_turns_a_check(
    name: str, facts: dict[str, object], status: str, fix: str, scene: Scene
) -> None:
    sound = finding(scene, name)
    assert sound[0] == "ok"
    turned = finding(replace(scene, facts=msgspec.structs.replace(FACTS, **facts)), name)
    assert turned[0] == status
    assert fix in turned[2]


def test_names_are_told_only_where_asked_for(scene: Scene) -> None:
    lacking = replace(scene, facts=msgspec.structs.replace(FACTS, lacking=("phone",), unrenewed=("diary",)))
    told = [text for name, _ in CHECKS for text in dict(CHECKS)[name](lacking) or ()]
    assert not [text for text in told if "phone" in text or "diary" in text or "laptop" in text]
    revealed = [text for name, _ in CHECKS for text in dict(CHECKS)[name](replace(lacking, reveal=True)) or ()]
    assert [text for text in revealed if "phone" in text]
    assert [text for text in revealed if "diary" in text]


def test_the_users_folder_is_shown_as_such(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: folder.parent)
    (folder / "store.key").chmod(0o644)
    try:
        hidden, shown = examine_security(folder), examine_security(folder, reveal=True)
    finally:
        (folder / "store.key").chmod(0o600)
    assert not [row for row in hidden if str(folder) in row.found + row.fix]
    assert [row for row in shown if str(folder) in row.fix]
    assert next(row.fix for row in hidden if row.check == "file modes") == "chmod -R go-rwx ~/home"


def test_files_open_to_others_are_bad_and_the_node_that_does_not_open_is_a_row(folder: Path) -> None:
    (folder / "memory.db").chmod(0o644)
    try:
        rows = {row.check: row for row in examine_security(folder)}
    finally:
        (folder / "memory.db").chmod(0o600)
    assert rows["file modes"].status == "bad"
    assert rows["node"].status == "bad"
    assert "admins" not in rows


def test_a_file_of_no_secret_open_to_others_is_worth_a_warning(scene: Scene) -> None:
    path = scene.home.folder / "notes.txt"
    path.touch()
    path.chmod(0o644)
    try:
        found = finding(scene, "file modes")
    finally:
        path.unlink()
    assert found[0] == "warn"


def test_files_of_another_user_are_bad(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.os, "getuid", lambda: 4711)
    found = finding(scene, "file owner")
    assert (found[0], "chown" in found[2]) == ("bad", True)


def test_a_store_in_clear_is_bad(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "memory.db").write_bytes(b"SQLite format 3\0" + bytes(100))
    found = finding(replace(scene, home=Home(tmp_path)), "store")
    assert found[0] == "bad"


def test_a_control_socket_open_to_others_is_bad(scene: Scene, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with bind_control(home.socket):
        there = replace(scene, home=home)
        assert finding(there, "control socket")[0] == "ok"
        home.socket.chmod(0o666)
        assert finding(there, "control socket")[0] == "bad"
        home.socket.chmod(0o600)
        home.folder.chmod(0o755)
        assert finding(there, "control socket")[0] == "bad"
    home.folder.chmod(0o700)
    home.socket.unlink()
    home.socket.write_text("not a socket")
    assert finding(there, "control socket")[0] == "bad"


def test_how_the_key_is_protected_is_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    assert finding(scene, "key") == ("warn", "in a file: whoever copies this disk is this node", "cis key passwd")
    assert dict(CHECKS)["keyring"](scene) is None
    kept = StoredIdentity(Path("identity.key"), "did:key:z", KeyringLock("00" * 8), b"")
    in_keyring = replace(scene, key=kept)
    assert finding(in_keyring, "key")[0] == "ok"
    for holds, status in ((True, "ok"), (False, "bad")):
        monkeypatch.setattr(doctor, "has_keyring_key", lambda _, holds=holds: holds)
        assert finding(in_keyring, "keyring")[0] == status


def test_libraries_too_old_are_bad(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "cipher_versions", lambda: ({"SQLite": "3.40.0"}, "SQLite"))
    assert finding(scene, "libraries")[0] == "bad"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's tables are Linux's")
def test_a_tcp_port_of_the_node_is_seen_and_bad(scene: Scene) -> None:
    listen = "import socket\ns = socket.create_server(('127.0.0.1', 0))\nprint(s.getsockname()[1], flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", listen], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        assert listening_tcp(process.pid) == (port,)
        there = replace(scene, node=msgspec.structs.replace(STATUS, pid=process.pid))
        found = finding(there, "web and metrics")
        process.communicate(b"\n")
    assert (found[0], str(port) in found[1]) == ("bad", True)


def test_a_process_without_tcp_ports_has_none() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", 0))
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
            assert not listening_tcp(process.pid)
            process.communicate(b"\n")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's tables are Linux's")
def test_descriptors_closed_while_they_are_read_hide_no_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:  # listing one's own descriptors lists that of the list
        assert listening.getsockname()[1] in (listening_tcp(os.getpid()) or ())


def test_metrics_on_their_port_are_no_secret_and_those_for_other_machines_worth_a_warning(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exposure, "listening_tcp", lambda _: (9467,))
    there = replace(scene, node=msgspec.structs.replace(STATUS, pid=1))
    assert finding(there, "web and metrics")[0] == "bad"
    for told, status in (("", "ok"), ('listen = "0.0.0.0:9467"\nallow_remote = true\n', "warn")):
        scene.home.config.write_text(f"[metrics]\nenabled = true\n{told}")
        asked = replace(there, settings=load(scene.home.folder))
        scene.home.config.unlink()
        assert finding(asked, "web and metrics")[0] == status


def test_a_process_there_is_not_cannot_be_seen(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposure, "listening_tcp", lambda _: None)
    there = replace(scene, node=msgspec.structs.replace(STATUS, pid=1))
    assert finding(there, "web and metrics")[0] == "warn"
