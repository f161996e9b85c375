"""A line that delays, loses and is only so wide: it carries frames between two TAP devices, in user space.

Loss comes in bursts, by Gilbert's model (1960): a line is good or bad, nothing passes a bad one, and which it is
changes with every frame so that ``loss`` of all frames are lost, ``burst`` in a row on average. Each direction has
a state of its own, and the same seed loses the same frames. What waits longer for its turn than a router's buffer
would keep it is lost too.

::

    python delaylink.py FD FD SEED < lines of {"delay_s": 0.08, "loss": 0.02, "burst": 4, "bytes_per_s": 1e6}

The last line holds; each is answered by how many frames were carried and how many lost so far.
"""

from __future__ import annotations

import collections
import json
import os
import select
import sys
import time
from dataclasses import dataclass
from random import Random

_FRAME_BYTES_MAX = 65_536
_READ_AT_ONCE = 64
_BUFFER_S = 0.25


@dataclass(frozen=True)
class Weather:
    """What a line does to what it carries, one way; ``bytes_per_s`` 0 is as fast as it goes."""

    delay_s: float = 0.0
    loss: float = 0.0
    burst: float = 4.0
    bytes_per_s: float = 0.0


class Gilbert:
    """One direction's state."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._bad = False

    def loses(self, weather: Weather) -> bool:
        """Step by one frame; say whether it is lost."""
        if not 0 < weather.loss < 1:
            self._bad = weather.loss >= 1
            return self._bad
        mends = 1 / max(weather.burst, 1.0)
        breaks = min(1.0, mends * weather.loss / (1 - weather.loss))
        self._bad = self._rng.random() >= mends if self._bad else self._rng.random() < breaks
        return self._bad


class Direction:
    """One way of the line, from one descriptor to the other."""

    def __init__(self, source: int, sink: int, seed: int) -> None:
        self.source = source
        self._sink = sink
        self._state = Gilbert(Random(seed))
        self._waiting: collections.deque[tuple[float, bytes]] = collections.deque()
        self._free_at = 0.0
        self.carried = self.lost = 0

    @property
    def due(self) -> float | None:
        """When the next frame leaves."""
        return self._waiting[0][0] if self._waiting else None

    def take(self, weather: Weather, now: float) -> None:
        """Take in what has arrived."""
        for frame in _frames(self.source):
            starts = max(now, self._free_at)
            if self._state.loses(weather) or starts - now > _BUFFER_S:
                self.lost += 1
                continue
            self._free_at = starts + (len(frame) / weather.bytes_per_s if weather.bytes_per_s else 0.0)
            self._waiting.append((self._free_at + weather.delay_s, frame))

    def give(self, now: float) -> None:
        """Let out what is due."""
        while self._waiting and self._waiting[0][0] <= now:
            _send(self._sink, self._waiting.popleft()[1])
            self.carried += 1


def carry(first: int, second: int, control: int, seed: int) -> None:
    """Carry frames until the control ends."""
    weather, said = Weather(), b""
    ways = (Direction(first, second, seed * 2), Direction(second, first, seed * 2 + 1))
    for way in ways:
        os.set_blocking(way.source, False)
    while True:
        due = [way.due for way in ways if way.due is not None]
        patience_s = max(0.0, min(due) - time.monotonic()) if due else None
        ready = select.select([first, second, control], [], [], patience_s)[0]
        for way in ways:
            if way.source in ready:
                way.take(weather, time.monotonic())
            way.give(time.monotonic())
        if control in ready:
            if not (chunk := os.read(control, _FRAME_BYTES_MAX)):
                return
            *lines, said = (said + chunk).split(b"\n")
            for line in lines:
                weather = Weather(**json.loads(line))
                print(sum(way.carried for way in ways), sum(way.lost for way in ways), flush=True)


def _frames(end: int) -> list[bytes]:
    found = []
    for _ in range(_READ_AT_ONCE):
        try:
            found.append(os.read(end, _FRAME_BYTES_MAX))
        except OSError:  # none left, or the device is down
            break
    return found


def _send(end: int, frame: bytes) -> None:
    try:
        os.write(end, frame)
    except OSError:  # down, or its queue is full: lost, as on any link
        return


if __name__ == "__main__":
    carry(int(sys.argv[1]), int(sys.argv[2]), sys.stdin.fileno(), int(sys.argv[3]))
