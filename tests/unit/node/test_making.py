"""Making a node that is cut short leaves a home that `cis init` finishes, and never one that it spoils."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cis.api.setup import create_node
from cis.errors import CisError, StoreError, UsageError
from cis.model import Kind
from cis.node.home import local as making
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.store.author import Write
from cis.trust import load_identity
from cis.trust.keyfile import write_identity
from cis.wire.content import Content
from tests.unit.trust.cluster import identity


class CutShort(StoreError):
    """Nothing comes after this."""


def cut_short(*_: object) -> None:
    raise CutShort


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.mark.parametrize("step", ["create_store_key", "found", "store_cluster", "save_cluster"])
@pytest.mark.parametrize("given", [False, True], ids=["init", "restore --words"])
@pytest.mark.parametrize("looked", [False, True], ids=["", "after another command"])
def test_what_was_cut_short_after_the_identity_goes_on_with_it(
    home: Home, step: str, given: bool, looked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(making, step, cut_short)
        with pytest.raises(CutShort):
            LocalNode.create(home, "laptop", identity=identity(5) if given else None)
    begun = load_identity(home.identity).node
    if looked:
        with pytest.raises(CisError, match="`cis init`"):
            LocalNode.open(home)
    created = create_node(home.folder, "laptop", standalone=False)
    with LocalNode.open(home) as local:
        assert local.identity.node == begun
        assert (local.cluster.me.name, local.identity.did) == ("laptop", created.did)


def test_a_home_with_a_store_is_never_taken_for_one_cut_short(home: Home) -> None:
    with LocalNode.create(home, "laptop") as local:
        local.store.write([Write(local.cluster.public, Kind.PUT, Content("editor", b"dark"))]).result()
        cluster = local.cluster.id
        with pytest.raises(UsageError, match="already holds a node"):
            LocalNode.create(home, "other")
    with pytest.raises(UsageError, match="already holds a node"):
        LocalNode.create(home, "other")
    aside = home.store_key.rename(home.folder / "aside")
    with pytest.raises(UsageError, match="already holds a node"):
        LocalNode.create(home, "other")
    aside.rename(home.store_key)
    with LocalNode.open(home) as again:
        assert again.cluster.id == cluster
        assert again.store.reader.recall(again.cluster.public, "editor") is not None


def test_an_identity_of_another_is_not_gone_on_with(home: Home) -> None:
    write_identity(home.identity, identity(6), None, b"", os.urandom)
    with pytest.raises(UsageError, match="already holds a node"):
        LocalNode.create(home, "laptop", identity=identity(5))


@pytest.mark.skipif(os.name != "posix", reason="links are POSIX's")
def test_a_home_may_be_a_link_to_a_folder(home: Home, tmp_path: Path) -> None:
    link = Home(tmp_path / "link")
    with LocalNode.create(home, "laptop") as local:
        did = local.identity.did
    link.folder.symlink_to(home.folder)
    with LocalNode.open(link) as local:
        assert local.identity.did == did
    assert link.socket == home.socket
    assert not link.socket.parent.is_symlink()


@pytest.mark.parametrize("name", ["Bad Name", "a" * 33, "ä"])
def test_a_name_that_cannot_be_is_refused_before_anything_is_made(home: Home, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a node"):
        create_node(home.folder, name, standalone=False)
    assert not home.folder.exists()
