"""What a target is, the form its inputs have, and what counts as found."""

from __future__ import annotations

import asyncio
import atexit
import functools
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import msgspec

STEPS_MAX = 24
BYTES_MAX = 4096
SCRATCH = "CIS_FUZZ_SCRATCH"
"""Names the folder for those of `scratch`, where somebody else removes it: libFuzzer ends a process without a word."""

Step = tuple[int, bytes]
T = TypeVar("T")
_script = msgspec.msgpack.Decoder(list[Step]).decode


@dataclass(frozen=True, slots=True)
class Target:
    """``run`` takes any bytes and raises on what must not be; ``seeds`` are inputs that get far.

    What a room logs with a traceback counts as raised: it is what a boundary made of a defect.
    """

    name: str
    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    bytes_max: int = BYTES_MAX

    def try_one(self, data: bytes) -> None:
        """Run one input; raises what ``run`` raises, or what was logged meanwhile."""
        with _WATCH:
            self.run(data)
        if _WATCH.found is not None:
            raise _WATCH.found


def script(*steps: Step) -> bytes:
    """Return the input that stands for these steps: a number, which chooses, and bytes."""
    return msgspec.msgpack.encode(steps)


def steps_in(data: bytes) -> list[Step]:
    """Return the steps of an input; bytes that are no script are one step."""
    try:
        return _script(data)[:STEPS_MAX]
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return [(0, data)]


def parsed(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    """Return the input of a target that has a form of its own; ValueError where it is of another."""
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from None


def chosen(choices: tuple[T, ...], number: int) -> T:
    """Return what a step's number chooses."""
    return choices[number % len(choices)]


def scratch() -> Path:
    """Return a new folder that lasts as long as the process, in memory where there is such a place."""
    folder = Path(tempfile.mkdtemp(prefix="cis-fuzz-", dir=os.environ.get(SCRATCH) or in_memory()))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def in_memory() -> str | None:
    """Return where files are kept in memory, None for where temporary ones always are."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - folders of our own are made in it


class Shared(Generic[T]):
    """What is too slow to make for each input: many share one, which is ended and made anew every so often."""

    _all: ClassVar[list[Shared[Any]]] = []

    def __init__(self, make: Callable[[], T], end: Callable[[T], object], every: int = 100) -> None:
        self.inputs = 0
        self._all.append(self)
        self._make, self._end, self._every = make, end, every
        self._made: T | None = None

    def next(self) -> T:
        """Return it, for the next input."""
        if self.inputs % self._every == 0:
            self.leave()
        if self._made is None:
            self._made = self._make()
        self.inputs += 1
        return self._made

    def leave(self) -> None:
        """End what there is."""
        made, self._made = self._made, None
        if made is not None:
            self._end(made)

    @classmethod
    def leave_all(cls) -> None:
        """End whatever inputs have shared: what is checked at the end is checked."""
        for one in cls._all:
            one.leave()


def on_loop(steps: Coroutine[None, None, T]) -> T:
    """Run what needs an event loop, always on the same one."""
    return _loop().run_until_complete(steps)


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    atexit.register(loop.close)
    return loop


class _Watch(logging.Handler):
    """Remembers the first exception that anybody logs, and keeps what is logged from the terminal, while it lasts."""

    _ROOMS = tuple(map(logging.getLogger, ("cis", "asyncio", "uvicorn", "websockets")))

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: BaseException | None = None

    def __enter__(self) -> Self:
        self.found = None
        for room in self._ROOMS:
            room.addHandler(self)
            room.propagate = False
        return self

    def __exit__(self, *_: object) -> None:
        for room in self._ROOMS:
            room.removeHandler(self)
            room.propagate = True

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None and self.found is None:
            self.found = record.exc_info[1]


_WATCH = _Watch()
