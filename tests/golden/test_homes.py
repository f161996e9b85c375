"""Two nodes of one cluster as each version left them on disk: today's cis shows the same, and goes on with them.

``homes_VERSION.tar.gz`` holds their files, and in ``shown.json`` what that version showed of them. `python -m
tests.golden.test_homes` makes that of the version at hand; that of a version that was released never changes.
"""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cis
from tests.e2e.conftest import Home, pair

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.glob("homes_*.tar.gz"))
NAMES = ("one", "two")
# The index can be made anew, and is for one of the two.
_LEFT_OUT = {"one/lock", "one/node.log", "two/lock", "two/node.log", "two/index.db"}


def shown(one: Home, two: Home) -> dict[str, Any]:
    """Return what a user would miss; what two holds is told by its states."""
    return {
        "memories": one.json("memory", "list")["memories"],
        "notes": one.json("memory", "list", "--space", "notes")["memories"],
        "conflicts": one.json("memory", "conflicts"),
        "history": one.json("memory", "history", "editor"),
        "members": [member["name"] for member in one.json("acl", "show")["members"]],
        "states": states(one),
        "states of two": states(two),
    }


def as_far_as_named(found: Any, before: Any) -> Any:
    """Return what is found without the fields that were not shown before: a later version may show more."""
    if isinstance(found, dict) and isinstance(before, dict):
        return {name: as_far_as_named(found[name], before[name]) for name in before if name in found}
    if isinstance(found, list) and isinstance(before, list):
        return [as_far_as_named(one, was) for one, was in zip(found, before, strict=False)] + found[len(before) :]
    return found


def states(home: Home) -> dict[str, str]:
    """Return the hash of the state of each space that both have."""
    spaces = home.json("memory", "stats")["spaces"]
    return {space["name"]: space["state_hash"] for space in spaces if space["name"] != "private"}


@pytest.fixture(params=FILES, ids=lambda path: path.name.removesuffix(".tar.gz"))
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[list[Home], dict[str, Any]]]:
    """The two homes, and what each showed."""
    for name in NAMES:
        (tmp_path / name).mkdir(mode=0o700)
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    homes = [Home(tmp_path / name) for name in NAMES]
    for home in homes:
        home.cis("config", "set", "memory.embedding.provider", "off")  # it would write vectors
    yield homes, json.loads((tmp_path / "shown.json").read_text(encoding="utf-8"))
    for home in homes:
        home.kill()


def test_a_home_of_each_version_shows_what_it_showed_and_goes_on(kept: tuple[list[Home], dict[str, Any]]) -> None:
    homes, before = kept
    one, two = homes
    assert as_far_as_named(shown(one, two), before) == before
    assert one.cis("memory", "get", "diary", "--space", "private") == "at home\n"
    listen = one.up()["listen"]
    two.up()
    two.cis("p2p", "connect", f"one@{listen}")
    two.cis("memory", "set", "later", "written by the version that came after")
    one.wait(lambda found: found["memories"], "memory", "list", "--prefix", "later")
    assert one.cis("memory", "incr", "builds") == "6\n"


def test_there_are_homes_of_this_version() -> None:
    assert f"homes_{cis.__version__}.tar.gz" in [path.name for path in FILES]


def _make(folder: Path) -> list[Home]:
    """Make the two homes with something of everything in them, and stop their nodes."""
    one, two = Home(folder / "one"), Home(folder / "two")
    pair(one, two)
    one.cis("config", "set", "p2p.sync.interval", "45")
    one.cis("memory", "set", "editor", "light mode")
    one.cis("memory", "set", "editor", "dark mode", "--category", "preference", "--tag", "ui")
    one.cis("memory", "set", "grüße", "ünïcödé", "--ttl", "3650d")
    one.cis("memory", "set", "limits", '{"requests": 10}', "--as-json")
    one.cis("memory", "set", "diary", "at home", "--space", "private")
    one.cis("memory", "incr", "builds", "5")
    one.cis("memory", "add", "languages", "Python", "Rust")
    two.wait(lambda found: found["memories"], "memory", "list", "--prefix", "languages")
    two.cis("memory", "remove", "languages", "Rust")
    two.cis("memory", "set", "shell", "fish")
    two.cis("memory", "delete", "shell")
    one.cis("space", "create", "notes", "--with", "two")
    one.cis("memory", "set", "plan", "a surprise", "--space", "notes")
    three = Home(folder / "three")
    three.cis("init", "--name", "three")
    three.cis("join", one.json("invite")["ticket"], "--yes")
    one.cis("acl", "revoke", "three", "--yes")
    two.wait(lambda found: len(found["members"]) == len(NAMES), "acl", "show")
    two.wait(lambda found: found["memories"], "memory", "list", "--space", "notes")
    one.cis("p2p", "disconnect", "two")
    two.cis("memory", "set", "drink", "coffee")
    one.cis("memory", "set", "drink", "tea")
    one.cis("p2p", "connect", "two")
    for home in (one, two):
        home.wait(bool, "memory", "conflicts")
        home.wait(lambda model: not model["waiting"], "memory", "model")
    one.cis("p2p", "sync")
    for home in (one, two):
        home.cis("down")
    return [one, two]


def _pack(homes: list[Home], folder: Path) -> None:
    seen = shown(*homes)
    assert seen["states"] == seen["states of two"]
    with tarfile.open(folder / f"homes_{cis.__version__}.tar.gz", "w:gz") as archive:
        for home in homes:
            for path in sorted(home.path.iterdir()):
                if (name := f"{home.path.name}/{path.name}") not in _LEFT_OUT:
                    archive.add(path, name)
        text = json.dumps(seen, indent=1).encode()
        member = tarfile.TarInfo("shown.json")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        _pack(_make(Path(work)), FOLDER)
