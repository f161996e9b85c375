"""The support archive tells how a node does, and nothing of who, where and what."""

from __future__ import annotations

import getpass
import json
import socket
import tarfile
from pathlib import Path

import pytest

from cis.api.embedded import EmbeddedNode
from cis.api.health import bundle
from cis.api.health.bundle import write_bundle
from cis.api.membership.trust_schema import CreateSpace
from cis.api.memories.memory_schema import SetMemory
from cis.errors import UsageError
from cis.model import did_of
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from tests.unit.api.test_trusting import Cluster

TOLD = ("zephyr-laptop", "quokka-phone", "okapi-diary", "capybara-key", "axolotl-value")
LOG = """\
2026-11-22T07:00:00Z [info     ] connected to quokka-phone at 192.0.2.77:7677
2026-11-22T07:00:01Z [warning  ] turn.example.org does not answer, nor does https://anchor.example.net/v1
2026-11-22T07:00:02Z [debug    ] set capybara-key
2026-11-22T07:00:03Z [info     ] DID is not 'capybara-key' nor "axolotl-value"
2026-11-22T07:00:04Z [info     ] the file FOLDER/memory.db was opened
"""
SETTINGS = """\
[p2p]
listen_port = 7700
[p2p.acl]
mode = "whitelist"
whitelist = ["quokka-phone"]
[p2p.cloud_anchor]
endpoint = "https://anchor.example.net"
token = "sesame-opens"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = Home(tmp_path_factory.mktemp("bundle") / "home-of-somebody")
    with EmbeddedNode(LocalNode.create(home, "zephyr-laptop")) as node:
        cluster = Cluster(node)
        cluster.admit("quokka-phone")
        cluster.ask(CreateSpace(name="okapi-diary"))
        cluster.ask(SetMemory(key="capybara-key", value="axolotl-value", space="okapi-diary", tags=("numbat-tag",)))
        did = did_of(node.local.identity.node)
    home.log.write_text(LOG.replace("DID", did).replace("FOLDER", str(home.folder)))
    home.log.chmod(0o600)
    home.config.write_text(SETTINGS)
    home.config.chmod(0o600)
    return home.folder


def unpacked(folder: Path, file: Path) -> dict[str, str]:
    write_bundle(folder, file)
    with tarfile.open(file) as archive:
        files = {Path(one.name).name: archive.extractfile(one) for one in archive.getmembers()}
        return {name: file.read().decode() for name, file in files.items() if file is not None}


def test_no_did_key_name_address_path_or_value_is_in_it(folder: Path, tmp_path: Path) -> None:
    contents = "".join(unpacked(folder, tmp_path / "b.tgz").values())
    secret = (*TOLD, "did:key:z", "numbat-tag", "sesame", "192.0.2.77", "example", "home-of-somebody")
    named = (socket.gethostname(), getpass.getuser() if getpass.getuser() not in bundle._WORDS else "zephyr-laptop")
    assert [one for one in (*secret, *named) if one in contents] == []


def test_it_says_how_the_node_does_and_lists_what_it_holds(folder: Path, tmp_path: Path) -> None:
    found = unpacked(folder, tmp_path / "b.tgz")
    assert list(found) == ["README.txt", *bundle._PARTS]
    assert all(name in found["README.txt"] for name in bundle._PARTS)
    assert {"disk", "settings"} <= {row["check"] for row in json.loads(found["doctor.json"])}
    assert json.loads(found["status.json"])["members"] == 2
    settings = json.loads(found["settings.json"])["p2p"]
    assert (settings["listen_port"], settings["acl"]["mode"]) == (7700, "whitelist")
    assert (settings["acl"]["whitelist"], settings["cloud_anchor"]["token"]) == ("(hidden)", "(hidden)")
    assert "connected to (hidden) at (address)" in found["log.txt"]
    assert "debug" not in found["log.txt"]


def test_of_a_node_that_does_not_open_all_else_is_told(folder: Path, tmp_path: Path) -> None:
    (folder / "memory.db").chmod(0o644)
    try:
        found = unpacked(folder, tmp_path / "b.tgz")
    finally:
        (folder / "memory.db").chmod(0o600)
    assert "open to other users" in json.loads(found["status.json"])["problem"]
    assert "7700" in found["settings.json"]


def test_it_is_the_owners_alone_and_takes_the_place_of_no_file(folder: Path, tmp_path: Path) -> None:
    write_bundle(folder, tmp_path / "b.tgz")
    assert (tmp_path / "b.tgz").stat().st_mode & 0o077 == 0
    with pytest.raises(UsageError, match="choose another name"):
        write_bundle(folder, tmp_path / "b.tgz")
    with pytest.raises(UsageError, match="cis init"):
        write_bundle(tmp_path, tmp_path / "c.tgz")
