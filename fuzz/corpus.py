"""Inputs that are kept: ``fuzz/corpus/TARGET`` in the repository, small; ``build/fuzz`` while one hunts."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

from fuzz.target import Target

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "fuzz" / "corpus"
WORK = ROOT / "build" / "fuzz"
CRASHES = WORK / "crashes"
KEPT_BYTES_MAX, KEPT_INPUTS_MAX, KEPT_INPUT_BYTES_MAX = 4096, 16, 1024
"""Of one target."""


def kept(target: Target) -> list[bytes]:
    """Return what the repository keeps for a target, in the order of names."""
    return [path.read_bytes() for path in sorted((KEPT / target.name).glob("*"))]


def working(target: Target) -> Path:
    """Return the folder in which a hunt begins and leaves what it finds, the target's seeds and what is kept in it."""
    folder = WORK / target.name
    folder.mkdir(parents=True, exist_ok=True)
    for data in [*target.seeds(), *kept(target)]:
        (folder / name_of(data)).write_bytes(data)
    return folder


def keep(target: Target) -> int:
    """Keep some of what hunts have left, small ones of all sizes, in place of what was kept; returns how many."""
    from cis.trust.invites import TICKET_PREFIX  # a hunt is to load nothing of cis before it is watched

    folder = KEPT / target.name
    folder.mkdir(parents=True, exist_ok=True)
    seeds = set(target.seeds())
    found = sorted(
        {path.read_bytes() for path in (WORK / target.name).glob("*")} - seeds, key=lambda one: (len(one), one)
    )
    # What looks like a ticket would be taken for one, by people and by `make audit`.
    found = [one for one in found if len(one) <= KEPT_INPUT_BYTES_MAX and TICKET_PREFIX.encode() not in one]
    for old in folder.glob("*"):
        old.unlink()
    chosen = found[:: -(-len(found) // KEPT_INPUTS_MAX) or 1]
    room = KEPT_BYTES_MAX
    for data in chosen:
        room -= len(data)
        if room >= 0:
            (folder / name_of(data)).write_bytes(data)
    return len(list(folder.iterdir()))


def name_of(data: bytes) -> str:
    """Return the name under which an input lies."""
    return blake2b(data, digest_size=8).hexdigest()
