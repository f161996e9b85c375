"""Opening files: ours are opened and survive, others are refused with a reason and left as they are."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from cis.errors import StoreError
from cis.model import Dot, VersionVector
from cis.store.collection import raise_floor
from cis.store.database import open_database
from cis.store.log import LogReader
from cis.store.store import MEMORY_LAYOUT, Store
from cis.wire.messages import encode
from tests.stores import KEYS, SPACE, STORE_KEY, WAIT_S, Author, merge, open_store, put, segments, text, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A closed store with one memory."""
    with open_store(tmp_path / "s", Author(1)) as store:
        write(store, put("editor", "dark"))
    return tmp_path / "s"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "lock"}


def refusal(folder: Path, key: bytes = STORE_KEY) -> str:
    """Open what must be refused, and see that not a byte of it has changed."""
    before = contents(folder)
    with pytest.raises(StoreError) as caught:
        open_store(folder, Author(1), key=key)
    assert contents(folder) == before
    with pytest.raises(StoreError):  # the lock is free again: it is the same refusal, not "in use"
        open_store(folder, Author(1), key=key)
    assert "in use" not in str(caught.value)
    return str(caught.value)


def test_what_was_written_is_there_when_opened_again(folder: Path) -> None:
    with open_store(folder, Author(1)) as store:
        assert text(store, "editor") == "dark"
        assert store.check() == []


def test_the_files_are_for_their_owner_only_and_hold_no_plaintext(folder: Path) -> None:
    with open_store(folder, Author(1)) as store:
        write(store, put("very-secret-key", "very-secret-value"))
        for path in folder.glob("*.db*"):
            assert path.stat().st_mode & 0o077 == 0, path
            assert b"very-secret" not in path.read_bytes(), path


def test_a_wrong_key_is_refused(folder: Path) -> None:
    assert "cannot be read with this node's key" in refusal(folder, b"x" * 32)


def test_a_wrong_key_harms_not_even_a_store_that_was_killed(folder: Path, tmp_path: Path) -> None:
    """With a write-ahead log beside it, which an opener would otherwise fold into the file."""
    with open_store(folder, Author(1)) as store:
        write(store, put("late", "kept"))
        shutil.copytree(folder, tmp_path / "killed")
    killed = tmp_path / "killed"
    assert (killed / "memory.db-wal").stat().st_size
    with pytest.raises(StoreError, match="this node's key"):
        open_store(killed, Author(1), key=b"x" * 32)
    with open_store(killed, Author(1)) as store:
        assert text(store, "late") == "kept"
        assert store.check() == []


def test_a_foreign_file_is_refused(folder: Path) -> None:
    (folder / "memory.db").write_bytes(b"Dear diary, " * 4096)
    assert "memory.db cannot be read" in refusal(folder)


def test_a_plain_sqlite_file_is_refused(folder: Path) -> None:
    (folder / "memory.db").unlink()
    with sqlite3.connect(folder / "memory.db") as plain:
        plain.execute("CREATE TABLE t(x)")
    plain.close()
    assert "unencrypted SQLite file" in refusal(folder)


def test_another_file_of_ours_in_its_place_is_refused(folder: Path) -> None:
    shutil.copy(folder / "index.db", folder / "memory.db")
    assert "not the file it should be" in refusal(folder)


def test_a_newer_format_is_refused(folder: Path) -> None:
    newer = replace(MEMORY_LAYOUT, migrations=[*MEMORY_LAYOUT.migrations, "CREATE TABLE later(x)"])
    open_database(folder / "memory.db", STORE_KEY, newer).close()
    assert f"this one knows {len(MEMORY_LAYOUT.migrations)}" in refusal(folder)


def test_a_failed_migration_leaves_the_format_as_it_was(folder: Path) -> None:
    broken = replace(
        MEMORY_LAYOUT, migrations=[*MEMORY_LAYOUT.migrations, "CREATE TABLE later(x); CREATE TABLE later(x)"]
    )
    with pytest.raises(apsw.SQLError):
        open_database(folder / "memory.db", STORE_KEY, broken)
    with open_store(folder, Author(1)) as store:
        assert text(store, "editor") == "dark"


def test_a_store_killed_while_it_was_made_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "memory.db").touch()
    connection = apsw.Connection(str(tmp_path / "memory.db"))
    connection.pragma("cipher", "aegis")
    connection.execute(f"PRAGMA key = 'raw:{STORE_KEY.hex()}'")
    connection.pragma("page_size", 8192)
    connection.pragma("journal_mode", "wal")  # writes the first page, before any table
    connection.close()
    assert (tmp_path / "memory.db").stat().st_size
    with open_store(tmp_path, Author(1)) as store:
        write(store, put("editor", "dark"))


def test_a_damaged_first_page_is_refused(folder: Path) -> None:
    data = bytearray((folder / "memory.db").read_bytes())
    data[4000] ^= 1
    (folder / "memory.db").write_bytes(data)
    assert "memory.db cannot be" in refusal(folder)


def test_damage_further_in_is_reported_as_such_and_never_as_data(folder: Path) -> None:
    data = bytearray((folder / "memory.db").read_bytes())
    for page in range(1, len(data) // 8192):
        data[page * 8192 + 4000] ^= 1
    (folder / "memory.db").write_bytes(data)
    with pytest.raises(StoreError, match=r"memory\.db"):
        open_store(folder, Author(1))


def test_a_missing_folder_is_refused_in_our_words(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="check the disk, the folder"):
        Store(tmp_path / "nowhere", STORE_KEY, Author(1).setting())


@pytest.mark.parametrize(
    ("number", "told"),
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only file system"), (errno.EACCES, "not yours to use")],
)
def test_what_the_system_refuses_is_told_with_what_to_do(
    number: int, told: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    before = contents(folder)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", refuse)
        with pytest.raises(StoreError, match=told):
            open_store(folder, Author(1))
    assert contents(folder).keys() == before.keys(), "what was begun is taken away"
    with open_store(folder, Author(1)) as store:
        assert text(store, "editor") == "dark"


def test_a_store_in_use_is_refused_and_free_once_closed(folder: Path) -> None:
    with open_store(folder, Author(1)), pytest.raises(StoreError, match="in use by another cis process"):
        open_store(folder, Author(1))
    open_store(folder, Author(1)).close()


def _try_to_open(folder: Path, answers: multiprocessing.Queue[str]) -> None:
    try:
        open_store(folder, Author(1)).close()
        answers.put("opened")
    except StoreError as error:
        answers.put(str(error))


def test_a_second_process_is_refused(folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answers: multiprocessing.Queue[str] = context.Queue()
    with open_store(folder, Author(1)):
        process = context.Process(target=_try_to_open, args=(folder, answers))
        process.start()
        assert "in use by another cis process" in answers.get(timeout=30)
        process.join()


# --- copies ----------------------------------------------------------------------------------------------


def replica_of(folder: Path) -> bytes:
    with open_store(folder, Author(1)) as store:
        return store.replica


def test_a_store_opened_again_goes_on_as_the_same_replica(folder: Path) -> None:
    assert replica_of(folder) == replica_of(folder)


def test_a_copied_folder_is_a_new_replica_and_the_original_is_not(folder: Path, tmp_path: Path) -> None:
    original = replica_of(folder)
    shutil.copytree(folder, tmp_path / "copy")
    assert replica_of(tmp_path / "copy") != original
    assert replica_of(folder) == original


def test_an_older_file_copied_over_the_store_makes_a_new_replica(folder: Path, tmp_path: Path) -> None:
    original = replica_of(folder)
    shutil.copy(folder / "memory.db", tmp_path / "backup.db")
    replica_of(folder)
    shutil.copy(tmp_path / "backup.db", folder / "memory.db")
    assert replica_of(folder) != original


def test_a_backup_of_the_whole_folder_put_back_in_place_makes_a_new_replica(folder: Path, tmp_path: Path) -> None:
    """Even where the file system gives the same inodes again and the tool keeps times."""
    original = replica_of(folder)
    shutil.copytree(folder, tmp_path / "backup")
    with open_store(folder, Author(1)) as store:
        write(store, put("after", "the backup"))
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "backup", folder)
    assert replica_of(folder) != original


def test_a_backup_copied_over_every_file_makes_a_new_replica(folder: Path, tmp_path: Path) -> None:
    """The same inodes and a matching marker: only the marker's change time tells."""
    original = replica_of(folder)
    shutil.copytree(folder, tmp_path / "backup")
    with open_store(folder, Author(1)) as store:
        write(store, put("after", "the backup"))
    for saved in (tmp_path / "backup").iterdir():
        shutil.copy2(saved, folder / saved.name)
    assert replica_of(folder) != original


def test_a_marker_that_is_gone_makes_a_new_replica(folder: Path) -> None:
    original = replica_of(folder)
    (folder / "memory.incarnation").unlink()
    assert replica_of(folder) != original


def test_a_clone_writes_beside_its_original_without_a_fork(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "clone")
    with open_store(folder, Author(1)) as one, open_store(tmp_path / "clone", Author(1)) as two:
        write(one, put("a", "1"))
        write(two, put("b", "2"))
        merge(one, *segments(two))
        merge(two, *segments(one))
        assert [text(store, key) for store in (one, two) for key in ("a", "b")] == ["1", "2", "1", "2"]


@pytest.mark.parametrize("told", ["what follows", "what lies behind a gap", "another under its number"])
def test_who_is_told_what_its_log_does_not_hold_goes_on_under_a_new_incarnation(tmp_path: Path, told: str) -> None:
    """Its clone, unnoticed, writes under the same incarnation."""
    with open_store(tmp_path / "one", Author(1)) as one, open_store(tmp_path / "clone", Author(1)) as clone:
        own = one.replica
        write(one, put("first"))
        if told != "another under its number":
            merge(clone, *segments(one))
        clone.replica = own
        for key in ("second", "third"):
            write(clone, put(key))
        number = {"what follows": 2, "what lies behind a gap": 3, "another under its number": 1}[told]
        with clone.snapshot() as reader:
            segment = LogReader(reader.connection, SPACE).segment(own, number, number)
        assert segment is not None
        error = one.merge(encode(segment)).exception(WAIT_S)
        assert (error is not None) == (number == 1)
        written = [*write(one, put("a")), *write(one, put("b"))]
        assert one.replica != own
        assert [outcome.dot for outcome in written] == [Dot(one.replica, 1), Dot(one.replica, 2)]


def test_no_number_that_others_call_stable_is_written_again(folder: Path) -> None:
    with open_store(folder, Author(1)) as store:
        own = store.replica
        floor = VersionVector({own: 3})
        store.execute(lambda connection: raise_floor(connection, SPACE, floor, told=True)).result(WAIT_S)
        write(store, put("x"))
        assert store.replica != own


def test_a_renewed_incarnation_lasts(folder: Path) -> None:
    with open_store(folder, Author(1)) as store:
        before = store.replica
        store.renew_incarnation()
        renewed = store.replica
        assert renewed != before
        assert renewed[:32] == before[:32]
        (written,) = write(store, put("x"))
        assert written.dot is not None
        assert written.dot.replica == renewed
    assert replica_of(folder) == renewed


def test_a_renewal_that_was_rolled_back_is_forgotten(folder: Path) -> None:
    with open_store(folder, Author(1)) as store:
        before = store.replica

        def renew_and_fail(connection: apsw.Connection) -> None:
            store._renew(connection)
            assert store.replica != before
            raise ValueError("a defect")

        with pytest.raises(StoreError, match="a defect"):
            store.execute(renew_and_fail).result(WAIT_S)
        store.execute(lambda _: None).result(WAIT_S)
        assert store.replica == before
    assert replica_of(folder) == before


def test_a_space_is_numbered_once(folder: Path) -> None:
    with open_store(folder, Author(1)) as store:
        store.add_space(KEYS, "public", replicated=True)
        assert store.reader.space_number(SPACE) == 1
