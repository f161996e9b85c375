"""A device that leaves vectors or values to others, as its user sees it."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from cis.api.control.client import connect
from cis.api.membership.trust_schema import Kept, ListSpaces, SpaceInfo
from cis.crdt import Policy
from cis.model import Kind
from cis.node.home.folder import Home as Folder
from cis.node.home.local import LocalNode
from cis.store.author import Write
from cis.store.texts import digest_of, embeddable
from cis.wire.content import Content, Form
from tests.e2e.conftest import Home

AGREED_S = 60.0
"""Within so long two devices have told each other what they keep, and what need not be kept has gone: three rounds."""


def embed(home: Home, key: str) -> None:
    """Write a vector of what a memory says, at a node that does not run."""
    with LocalNode.open(Folder(home.path)) as node:
        space = node.cluster.public
        recalled = node.store.reader.recall(space, key, Policy.CRDT)
        text = embeddable(recalled) if recalled is not None else None
        assert text is not None
        content = Content(key, digest_of(text), form=Form.BYTES, vector=struct.pack("<2f", 1, 2), vector_model="tiny")
        node.store.write([Write(space, Kind.VECTOR, content)]).result()


def has_vector(home: Home, key: str) -> bool:
    with LocalNode.open(Folder(home.path)) as node:
        recalled = node.store.reader.recall(node.cluster.public, key, Policy.CRDT)
        return recalled is not None and any(part.content is not None for part in recalled.vectors)


def public(home: Home) -> SpaceInfo:
    with connect(home.path) as node:
        return next(one for one in node.call(ListSpaces()) if one.name == "public")


def test_a_device_takes_a_space_without_vectors_says_so_and_fetches_them_when_it_is_to_keep_everything(
    new_home: Callable[[str], Home],
) -> None:
    one, two = new_home("one"), new_home("two")
    one.cis("init", "--name", "one")
    one.cis("memory", "set", "editor", "dark mode")
    embed(one, "editor")
    two.cis("init", "--name", "two")
    one.up()
    two.cis("join", one.json("invite")["ticket"], "--yes")
    assert "all but vectors" in two.cis("space", "keep", "public", "--without-vectors")
    two.up()
    two.wait_keys("editor")
    found = public(two)
    assert (found.keeps, found.elsewhere, public(one).elsewhere) == (Kept(vectors=False), 1, 0)
    assert two.status().elsewhere == {"public": 1}
    assert two.json("p2p", "sync-status")["bodies_missing"] == 0
    assert "this device keeps everything" in two.cis("space", "keep", "public", "--all")
    two.wait(lambda report: report["bodies_missing"] == 0, "p2p", "sync-status")
    two.cis("down")
    assert has_vector(two, "editor")


@pytest.mark.timeout(240)
def test_a_device_keeps_names_reads_values_from_another_and_says_where_they_are_when_it_cannot(
    new_home: Callable[[str], Home],
) -> None:
    desk, phone = new_home("desk"), new_home("phone")
    desk.cis("init", "--name", "desk")
    desk.cis("memory", "set", "notes/kettle", "the blue one", "--category", "task")
    desk.cis("memory", "set", "work/plan", "on Monday")
    phone.cis("init", "--name", "phone")
    desk.up()
    phone.cis("join", desk.json("invite")["ticket"], "--yes")
    phone.up()
    phone.wait_keys("notes/kettle", "work/plan")
    assert "this device keeps values under work/, and all names" in phone.cis(
        "space", "keep", "public", "--prefix", "work/"
    )
    phone.wait_status(lambda status: status.elsewhere == {"public": 1}, AGREED_S)
    listed = {one["key"]: one for one in phone.json("memory", "list")["memories"]}
    assert (listed["notes/kettle"]["elsewhere"], listed["notes/kettle"]["category"]) == (True, "task")
    assert ("elsewhere" in listed["work/plan"], listed["work/plan"]["value"]) == (False, "on Monday")
    assert "(on other devices)" in phone.cis("memory", "list")
    assert [hit["memory"]["key"] for hit in phone.json("memory", "search", "kettle")["hits"]] == ["notes/kettle"]
    assert phone.cis("memory", "get", "notes/kettle") == "the blue one\n"
    assert phone.json("p2p", "sync-status")["bodies_missing"] == 0
    phone.cis("down")
    stopped = phone.run("memory", "get", "notes/kettle")
    assert (stopped.code, stopped.out) == (6, "")
    assert "is on other devices (desk); no node runs here to fetch it: start it with `cis up --detach`" in stopped.err
    desk.cis("down")
    phone.up()
    alone = phone.run("memory", "get", "notes/kettle")
    assert alone.code == 6
    assert "none of them is connected: `cis p2p connect desk`" in alone.err
    assert phone.run("memory", "export", str(phone.path / "out.jsonl")).code == 6
    phone.cis("p2p", "connect", f"desk@{desk.up()['listen']}")
    phone.cis("space", "keep", "public", "--all")
    phone.wait(lambda report: report["bodies_missing"] == 0, "p2p", "sync-status")
    phone.cis("down")
    assert phone.cis("memory", "get", "notes/kettle") == "the blue one\n"
