"""A simulated node's files: copied and put back, and the power that fails in the middle of a transaction."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cis.store.store import Store

_FILES = ("memory.db", "memory.db-wal")


class Crash(BaseException):
    """The power went in the middle of a transaction of member ``number``."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def fail_next_commit(store: Store, number: int) -> None:
    """Let the power go in the middle of the next transaction."""
    commits = iter((False, True))  # the first is that of the task which sets the hook

    def on_commit() -> bool:
        if next(commits):
            raise Crash(number)
        return False

    store.execute(lambda connection: connection.set_commit_hook(on_commit)).result()


def trust_power(store: Store) -> None:
    """Let transactions come to their end again."""
    store.execute(lambda connection: connection.set_commit_hook(None)).result()


def back_up(folder: Path) -> None:
    """Copy the files between two transactions."""
    for name in _FILES:
        if (folder / name).exists():
            shutil.copyfile(folder / name, folder / f"{name}.backup")


def put_back(folder: Path) -> None:
    """Put the copied files in place of those of a node that is down."""
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)
    for name in _FILES:
        backup = folder / f"{name}.backup"
        if backup.exists():
            shutil.copyfile(backup, folder / f"{name}.restored")
            (folder / f"{name}.restored").replace(folder / name)
