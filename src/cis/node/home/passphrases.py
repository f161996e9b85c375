"""Where a passphrase comes from: the environment, a file, or a person.

``CIS_PASSPHRASE`` holds it; else ``CIS_PASSPHRASE_FILE`` names the file that does (``-`` is standard input); else
whoever called `asking` asks for it.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path

from cis.errors import Denied, UsageError

VARIABLE = "CIS_PASSPHRASE"
FILE_VARIABLE = "CIS_PASSPHRASE_FILE"

_BYTES_MAX = 4096
Ask = Callable[[str], str | None]
"""Asks a person for a passphrase, given what it is of; None where nobody is there."""
_asker: ContextVar[Ask | None] = ContextVar("_asker", default=None)


@contextlib.contextmanager
def asking(ask: Ask) -> Iterator[None]:
    """Let a person be asked where nothing else gives the passphrase."""
    token = _asker.set(ask)
    try:
        yield
    finally:
        _asker.reset(token)


def passphrase_of(what: str) -> str:
    """Return the passphrase of something, from wherever it comes; `Denied` where it comes from nowhere."""
    given = given_passphrase()
    ask = _asker.get()
    if given is None and ask is not None:
        given = ask(f"passphrase of {what}")
    if given is None:
        raise Denied(
            f"{what} is under a passphrase: type it on a terminal, or set {VARIABLE}, or {FILE_VARIABLE} to a file "
            "that holds it"
        )
    return given


def given_passphrase() -> str | None:
    """Return the passphrase that the environment gives, itself or as a file; None where it gives none."""
    if given := os.environ.get(VARIABLE):
        return given
    path = os.environ.get(FILE_VARIABLE)
    return read_passphrase(path) if path else None


def use_file(path: str) -> None:
    """Let the passphrase come from that file in this process and those it starts, whatever the environment says."""
    os.environ.pop(VARIABLE, None)
    os.environ[FILE_VARIABLE] = path


def read_passphrase(path: str) -> str:
    """Return the first line of a file, or of standard input for ``-``; `Denied` where the file is open to others."""
    if path == "-":
        return _first_line(sys.stdin.buffer.readline(_BYTES_MAX), "standard input")
    file = Path(path)
    try:
        mode = file.stat().st_mode
        if os.name == "posix" and stat.S_ISREG(mode) and mode & 0o077:
            raise Denied(f"{path} holds a passphrase and is open to other users: run  chmod 600 {path}")
        with file.open("rb") as opened:
            return _first_line(opened.readline(_BYTES_MAX), path)
    except OSError as error:
        raise UsageError(f"no passphrase can be read from {path}: {error.strerror or error}") from error


def _first_line(line: bytes, where: str) -> str:
    passphrase = line.decode(errors="replace").rstrip("\r\n")
    if not passphrase:
        raise UsageError(f"there is no passphrase in {where}")
    return passphrase
