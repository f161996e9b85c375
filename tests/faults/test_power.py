from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from unittest.mock import patch

import pytest

from cis.store import store as store_room
from faults import power
from faults.disk import Cut, Deleted, Disk, Opened, Step, Synced, Unsynced, Wrote, lay, on
from faults.platter import Platter
from faults.report import Report, Task
from tests.stores import Author, open_store, put, write

MANY = 200


def failures(count: int) -> Report:
    report = Report("power failure", 7)
    power.run(Task(7, count, None, print), report)
    return report


@pytest.mark.timeout(300)
def test_no_power_failure_loses_what_was_acknowledged() -> None:
    report = failures(40)
    assert report.broken == []
    assert report.counts["power failures"] == 40
    assert report.counts["acknowledged writes looked for"] > 400


@pytest.mark.timeout(300)
def test_a_store_that_does_not_wait_for_the_disk_is_found_to_lose() -> None:
    with patch.object(store_room, "MEMORY_LAYOUT", replace(store_room.MEMORY_LAYOUT, synchronous="NORMAL")):
        report = failures(20)
    assert [one for one in report.broken if "not acknowledged last" in one]
    assert [one for one in report.broken if "others were told" in one]


def test_the_disk_is_given_sealed_bytes_and_a_commit_ends_with_a_sync(tmp_path: Path) -> None:
    disk = Disk(lay(tmp_path / "home", {}))
    with on(disk), open_store(disk.folder, Author(1)) as store:
        disk.trace.clear()
        write(store, put("k", "a value in the clear"))
        steps = [step for step in disk.trace if getattr(step, "file", "").startswith("memory.db")]
    assert isinstance(steps[-1], Synced)
    written = b"".join(step.data for step in steps if isinstance(step, Wrote))
    assert written
    assert b"a value in the clear" not in written


def found(*steps: Step, files: dict[str, bytes] | None = None) -> Iterator[dict[str, bytes]]:
    """What many power failures after these steps leave."""
    for seed in range(MANY):
        platter = Platter(files or {}, Random(seed))
        for step in steps:
            platter.take(step)
        yield platter.failed()


def states(name: str, *steps: Step, files: dict[str, bytes] | None = None) -> set[bytes | None]:
    return {one.get(name) for one in found(*steps, files=files)}


def test_what_was_synced_is_always_found() -> None:
    steps = [Opened("f", new=True, binds=True), Wrote("f", 0, b"a" * 2000), Synced("f")]
    assert states("f", *steps) == {b"a" * 2000}


def test_what_was_not_synced_may_be_there_in_any_part_and_order() -> None:
    before = {"f": b"-" * 1024}
    left = states("f", Wrote("f", 0, b"a" * 1024), Cut("f", 512), files=before)
    assert {b"-" * 1024, b"a" * 512, b"-" * 512, b"a" * 1024, b"-" * 512 + b"a" * 512} <= left


def test_a_sector_under_way_may_be_torn_and_what_is_beside_it_stays() -> None:
    left = states("f", Wrote("f", 10, b"a" * 100), files={"f": b"-" * 600})
    assert len(left) > 10
    assert {one[:10] + one[110:] for one in left if one is not None} == {b"-" * 500}


@pytest.mark.parametrize(
    ("steps", "names"),
    [
        ([Deleted("f", durable=False)], {True, False}),
        ([Deleted("f", durable=True)], {False}),
        ([Deleted("f", durable=False), Opened("g", new=True, binds=True), Synced("g")], {False}),
    ],
)
def test_a_name_goes_for_good_once_its_folder_is_synced(steps: Sequence[Step], names: set[bool]) -> None:
    assert {"f" in one for one in found(*steps, files={"f": b"x"})} == names


def test_what_a_failed_sync_lost_no_later_sync_brings_back() -> None:
    steps = [Wrote("f", 0, b"a" * 512), Unsynced("f"), Synced("f")]
    assert {b"a" * 512, b"-" * 512} <= states("f", *steps, files={"f": b"-" * 512})
