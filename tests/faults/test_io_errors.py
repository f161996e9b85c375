from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from cis.errors import StoreError
from faults import io_errors
from faults.disk import Disk, Read, Step, Wrote, allow, lay, on
from faults.report import Report, Task
from faults.work import opened
from tests.stores import SPACE, WAIT_S, Author, open_store, put, text, write


def out_of_order(step: Step | Read) -> None:
    """A rule by which the disk neither reads nor writes."""
    if isinstance(step, Read | Wrote):
        raise apsw.IOError("disk I/O error")


@pytest.mark.timeout(300)
def test_a_disk_that_fails_anywhere_loses_nothing_and_stops_nothing() -> None:
    report = Report("disk errors", 3)
    io_errors.run(Task(3, 8, None, print), report)
    assert report.broken == []
    assert report.counts["answers that were errors"] > 0


def test_a_writer_that_can_neither_write_nor_read_goes_on_when_the_disk_is_well(tmp_path: Path) -> None:
    disk = Disk(lay(tmp_path / "home", {}))
    with on(disk), open_store(disk.folder, Author(1)) as store:
        write(store, put("before", "kept"))
        store._runner._engine._connection.execute("PRAGMA shrink_memory")  # so that it must read
        disk.rule = out_of_order
        for number in range(3):
            assert isinstance(store.write([put("k", str(number))]).exception(WAIT_S), StoreError)
        disk.rule = allow
        write(store, put("k", "well"))
        assert (text(store, "before"), text(store, "k")) == ("kept", "well")


def test_whoever_asks_something_of_an_index_that_cannot_be_written_is_answered(tmp_path: Path) -> None:
    def index_fails(step: Step | Read) -> None:
        if isinstance(step, Wrote) and step.file.startswith("index.db"):
            raise apsw.IOError("disk I/O error")

    disk = Disk(lay(tmp_path / "home", {}))
    with on(disk), open_store(disk.folder, Author(1)) as store:
        disk.rule = index_fails
        write(store, put("k", "v"))
        with pytest.raises(StoreError, match="check the disk"):
            store.compact()
        disk.rule = allow
        store.compact()
        assert text(store, "k") == "v"


def test_a_store_that_cannot_be_opened_says_so_whatever_fails(tmp_path: Path) -> None:
    disk = Disk(lay(tmp_path / "home", {}))
    with on(disk):
        with open_store(disk.folder, Author(1)) as store:
            write(store, put("k", "v"))
        disk.rule = whole = io_errors.Failing(0, 0)
        with opened(disk.folder, Author(1)):
            pass
        refused = []
        for first in range(1, whole.met + 1):
            disk.rule = io_errors.Failing(first, 1)
            try:
                with opened(disk.folder, Author(1)) as store:
                    assert text(store, "k") == "v"
            except StoreError as error:
                refused.append(str(error))
        disk.rule = allow
        with open_store(disk.folder, Author(1)) as store:
            assert text(store, "k") == "v"
        assert len(refused) > whole.met / 4
        assert all("check the disk" in told for told in refused)


def test_a_reader_on_a_disk_that_fails_says_so(tmp_path: Path) -> None:
    disk = Disk(lay(tmp_path / "home", {}))
    with on(disk), open_store(disk.folder, Author(1)) as store:
        write(store, *(put(f"k{number}", "v" * 1000) for number in range(50)))
        disk.rule = out_of_order
        with pytest.raises(StoreError, match="check the disk"), store.open_reader().connection:
            pass
        with pytest.raises(StoreError, match="check the disk"), store.snapshot() as reader:
            reader.connection.execute("SELECT sum(length(sealed)) FROM body").fetchall()
        disk.rule = allow
        assert store.reader.recall(SPACE, "k1") is not None
