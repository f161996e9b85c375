"""Records outlive a restart in a file, and a file that is not the anchor's is left alone."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from cis.anchor.protocol import Done
from cis.anchor.shelf import Shelf
from cis.errors import StoreError
from tests.unit.anchor.switched import Anchor, beacon, refused

TAG = b"t" * 16


def test_a_file_keeps_records_over_a_restart_and_is_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "anchor.db"
    shelf = Shelf(path)
    shelf.put(TAG, b"sealed", 100.0, "owner")
    assert {stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()} == {0o600}
    shelf.close()
    again = Shelf(path)
    assert again.get(TAG, 99.0) == b"sealed"
    assert again.get(TAG, 100.0) is None
    assert (again.count, again.bytes, again.owned("owner")) == (1, 6, 1)


def test_a_file_that_cannot_be_made_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("no folder")
    for path in (tmp_path / "missing" / "anchor.db", tmp_path / "plain" / "anchor.db", tmp_path):
        with pytest.raises(StoreError, match="without --database"):
            Shelf(path)


def test_counts_follow_what_is_put_in_place_of_another_and_what_expires() -> None:
    shelf = Shelf()
    shelf.put(TAG, b"first", 100.0, "one")
    shelf.put(TAG, b"the second", 200.0, "two")
    assert (shelf.count, shelf.bytes, shelf.owned("one"), shelf.owned("two")) == (1, 10, 0, 1)
    shelf.expire(199.0)
    assert shelf.holds(TAG)
    shelf.expire(200.0)
    assert (shelf.count, shelf.bytes, shelf.holds(TAG)) == (0, 0, False)


def test_a_file_of_another_program_or_damaged_is_refused_and_not_changed(tmp_path: Path) -> None:
    other, damaged = tmp_path / "other.db", tmp_path / "damaged.db"
    with sqlite3.connect(other) as database:
        database.execute("PRAGMA application_id = 7")
        database.execute("CREATE TABLE precious (x)")
    damaged.write_bytes(b"not a database, by far" * 100)
    for path in (other, damaged):
        before = path.read_bytes()
        with pytest.raises(StoreError, match="another" if path == other else "delete it"):
            Shelf(path)
        assert path.read_bytes() == before


def test_a_disk_that_takes_nothing_refuses_the_request_and_nothing_else() -> None:
    anchor = Anchor()
    node = anchor.connect()
    node.claim(beacon(1))
    anchor.board.shelf._database.execute("PRAGMA query_only = ON")
    assert "cannot keep" in refused(node.register(beacon(1)))
    anchor.board.shelf._database.execute("PRAGMA query_only = OFF")
    assert isinstance(node.register(beacon(1)), Done)
    assert anchor.board.shelf.count == 1
