from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from cis.errors import StoreError, UsageError
from cis.model import Kind
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.node.home.restoring import gather, restore, restore_alone
from cis.node.home.unlocking import unlock
from cis.store.author import Write
from cis.trust import Identity
from cis.trust.keyfile import write_identity
from cis.wire.content import Content
from tests.unit.trust.cluster import entropy, identity


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def node(home: Home) -> LocalNode:
    with LocalNode.create(home, "laptop") as local:
        write(local, "editor")
        return local


def write(local: LocalNode, key: str) -> None:
    local.store.write([Write(local.cluster.public, Kind.PUT, Content(key, b"value"))]).result()


def recalls(local: LocalNode, key: str) -> bool:
    return local.store.reader.recall(local.cluster.public, key) is not None


def writer(who: Identity):  # noqa: ANN201 - a test's shorthand
    return lambda path: write_identity(path, who, None, b"", entropy(9))


def test_a_restored_node_is_the_same_member_with_the_same_keys_under_a_new_incarnation(
    home: Home, node: LocalNode, tmp_path: Path
) -> None:
    home.bootstrap.write_text('[{"node": "did:key:z"}]')
    home.config.write_text("[p2p]\nenabled = false\n")
    backup = gather(home, node.identity)
    other = Home(tmp_path / "other")
    with restore(other, backup, writer(node.identity)) as local:
        assert local.identity.node == node.identity.node
        assert local.cluster.id == node.cluster.id
        assert local.cluster.me.name == "laptop"
        assert local.cluster.keys == node.cluster.keys
        assert local.store.replica != node.store.replica
        assert not recalls(local, "editor")
        write(local, "shell")
        replica = local.store.replica
    assert other.bootstrap.read_text() == home.bootstrap.read_text()
    assert other.config.read_text() == home.config.read_text()
    with LocalNode.open(other) as again:
        assert recalls(again, "shell")
        assert again.store.replica == replica


def test_a_backup_is_read_beside_a_node_that_runs(home: Home) -> None:
    with LocalNode.create(home, "laptop") as local:
        backup = gather(home, unlock(home))
        assert backup.cluster == local.cluster.id
        assert (backup.name, backup.locked) == ("laptop", False)


def test_nothing_is_overwritten(home: Home, node: LocalNode, tmp_path: Path) -> None:
    backup = gather(home, node.identity)
    before = home.identity.read_bytes()
    with pytest.raises(UsageError, match="holds a node"):
        restore(home, backup, writer(node.identity))
    with pytest.raises(UsageError, match="holds a node"):
        restore_alone(home, identity(7), "other", writer(identity(7)))
    assert home.identity.read_bytes() == before
    full = Home(tmp_path / "full")
    full.folder.mkdir()
    (full.folder / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="not empty"):
        restore(full, backup, writer(node.identity))
    assert [path.name for path in full.folder.iterdir()] == ["letter.txt"]


def test_a_restore_that_fails_leaves_nothing(home: Home, node: LocalNode, tmp_path: Path) -> None:
    backup = msgspec.structs.replace(gather(home, node.identity), keys=b"damaged")
    with pytest.raises(StoreError):
        restore(Home(tmp_path / "other"), backup, writer(node.identity))
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_an_empty_folder_is_as_good_as_none(home: Home, node: LocalNode, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    other.folder.mkdir()
    with restore(other, gather(home, node.identity), writer(node.identity)) as local:
        assert local.cluster.id == node.cluster.id


def test_the_key_alone_opens_a_store_that_lost_it_under_a_new_incarnation(home: Home, node: LocalNode) -> None:
    home.identity.unlink()
    with restore_alone(home, node.identity, "ignored", writer(node.identity)) as local:
        assert recalls(local, "editor")
        assert local.cluster.me.name == "laptop"
        assert local.store.replica != node.store.replica
    with LocalNode.open(home) as again:
        assert recalls(again, "editor")


def test_the_key_of_another_opens_no_store_that_lost_its_own(home: Home, node: LocalNode) -> None:
    home.identity.unlink()
    with pytest.raises(StoreError, match="another identity"):
        restore_alone(home, identity(7), "ignored", writer(identity(7)))
    assert not home.identity.exists()


def test_words_make_a_node_of_a_cluster_of_its_own(home: Home, node: LocalNode, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    with restore_alone(other, node.identity, "laptop", writer(node.identity)) as local:
        assert local.identity.node == node.identity.node
        assert local.cluster.id != node.cluster.id
    with LocalNode.open(other) as again:
        assert again.identity.node == node.identity.node


def test_a_restored_home_may_be_restored_again_elsewhere(home: Home, node: LocalNode, tmp_path: Path) -> None:
    other, third = Home(tmp_path / "other"), Home(tmp_path / "third")
    with restore(other, gather(home, node.identity), writer(node.identity)) as local:
        first = local.store.replica
    backup = gather(other, node.identity)
    shutil.rmtree(other.folder)
    with restore(third, backup, writer(node.identity)) as local:
        assert local.store.replica not in (first, node.store.replica)
