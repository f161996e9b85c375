"""What is on a disk after the power failed: all that was synced, and of the rest whatever the disk got to.

What was not synced may be there or not, sector by sector, in any order; the sector being written may be torn or hold
anything; a file may have grown before what makes it longer arrived, and its name may be missing, or still be there
after it was deleted (Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014). What a write does not touch
stays as it is, and names change in the order they were changed in: SQLite asks for no less ("powersafe overwrite").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random

from faults.disk import Cut, Deleted, Noted, Opened, Step, Synced, Unsynced, Wrote

SECTOR = 512
_KEPT = (0.0, 0.1, 0.5, 0.9, 1.0)
"""of what was not synced, the shares that arrived"""
_TORN = 0.02
_SCRIBBLED = 0.01


@dataclass
class _File:
    """One file, by whatever name: what is durable of it, and what is not yet."""

    durable: bytearray = field(default_factory=bytearray)
    waiting: list[Wrote | Cut] = field(default_factory=list)
    binds: bool = False

    def sync(self) -> None:
        for step in self.waiting:
            _apply(self.durable, step)
        self.waiting.clear()

    def lose(self, rng: Random) -> None:
        """Take what a sync that failed left of what was waiting as all there will ever be."""
        self.durable = bytearray(self.failed(rng))
        self.waiting.clear()

    def failed(self, rng: Random) -> bytes:
        """Return what is found of it afterwards."""
        found = bytearray(self.durable)
        kept = rng.choice(_KEPT)
        ordered = rng.random() < 0.5
        sizes = [len(found)]
        for piece in self._ordered(rng) if ordered else self._scattered(rng, kept):
            _apply(found, piece)
        for step in self.waiting:
            sizes.append(step.size if isinstance(step, Cut) else max(sizes[-1], step.offset + len(step.data)))
        if rng.random() < 0.3:
            found.extend(bytes(max(0, rng.choice(sizes) - len(found))))
        return bytes(found)

    def _ordered(self, rng: Random) -> Iterator[Wrote | Cut]:
        """Yield what arrived in the order it was given, up to some byte."""
        last = rng.randint(0, len(self.waiting))
        yield from self.waiting[:last]
        if last < len(self.waiting) and isinstance(step := self.waiting[last], Wrote):
            yield Wrote(step.file, step.offset, step.data[: rng.randint(0, len(step.data))])

    def _scattered(self, rng: Random, kept: float) -> Iterator[Wrote | Cut]:
        for step in self.waiting:
            for piece in _sectors(step):
                if rng.random() < kept:
                    yield piece
                elif isinstance(piece, Wrote) and rng.random() < _TORN:
                    yield Wrote(piece.file, piece.offset, piece.data[: rng.randint(0, len(piece.data))])
                elif isinstance(piece, Wrote) and rng.random() < _SCRIBBLED:
                    yield Wrote(piece.file, piece.offset, rng.randbytes(len(piece.data)))


@dataclass(frozen=True)
class _Name:
    """A change of the folder that is not durable yet: a name leads to that file, or to none."""

    name: str
    file: _File | None


class Platter:
    """The files of one folder, as steps of a trace change them."""

    def __init__(self, files: Mapping[str, bytes], rng: Random) -> None:
        self._rng = rng
        self._durable = {name: _File(bytearray(data)) for name, data in files.items()}
        self._names = dict(self._durable)
        self._changes: list[_Name] = []

    def take(self, step: Step) -> None:
        """Follow one step."""
        match step:
            case Noted():
                pass
            case Opened(name, new, binds):
                if name not in self._names or (new and self._holds(name)):
                    self._rename(name, _File())
                self._names[name].binds |= binds
            case Deleted(name, durable):
                self._rename(name, None)
                if durable:
                    self._bind()
            case Synced(name):
                file = self._names[name]
                file.sync()
                if file.binds:
                    file.binds = False
                    self._bind()
            case Unsynced(name):
                self._names[name].lose(self._rng)
            case Wrote() | Cut():
                self._names[step.file].waiting.append(step)

    def failed(self) -> dict[str, bytes]:
        """Return the files as they might be found now, were the power to fail."""
        names = dict(self._durable)
        for change in self._changes[: self._rng.randint(0, len(self._changes))]:
            _follow(names, change)
        return {name: file.failed(self._rng) for name, file in sorted(names.items())}

    def _holds(self, name: str) -> bool:
        file = self._names[name]
        whole = bytearray(file.durable)
        for step in file.waiting:
            _apply(whole, step)
        return bool(whole)

    def _rename(self, name: str, file: _File | None) -> None:
        change = _Name(name, file)
        self._changes.append(change)
        _follow(self._names, change)

    def _bind(self) -> None:
        self._changes.clear()
        self._durable = dict(self._names)


def _follow(names: dict[str, _File], change: _Name) -> None:
    if change.file is None:
        names.pop(change.name, None)
    else:
        names[change.name] = change.file


def _apply(data: bytearray, step: Wrote | Cut) -> None:
    if isinstance(step, Cut):
        del data[step.size :]
        data.extend(bytes(step.size - len(data)))
        return
    if step.offset > len(data):
        data.extend(bytes(step.offset - len(data)))
    data[step.offset : step.offset + len(step.data)] = step.data


def _sectors(step: Wrote | Cut) -> Iterator[Wrote | Cut]:
    """Yield a write in pieces that lie in one sector each."""
    if isinstance(step, Cut):
        yield step
        return
    at = 0
    while at < len(step.data):
        end = at + SECTOR - (step.offset + at) % SECTOR
        yield Wrote(step.file, step.offset + at, step.data[at:end])
        at = end
