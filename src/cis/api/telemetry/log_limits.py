"""How often one line of code may speak in the log; what it says beyond that is counted, and the count is told.

The line of code is what recurs, not the text: peers choose names and reasons, and could make each text another.
Pure: time comes in. ::

    limit = LineLimit()
    limit.admits("links.py:172", now)      # True, 20 times a minute
    limit.due(now)                         # [("links.py:172", 35)]: left out in the minute that is over
"""

from __future__ import annotations

from dataclasses import dataclass

LINES_MAX = 20
WINDOW_S = 60.0
KEYS_MAX = 512
"""Lines of code that are remembered; the one that began first is forgotten, with what it left out."""


@dataclass(slots=True)
class _Window:
    until: float
    told: int = 0
    left_out: int = 0


class LineLimit:
    """See the module; ``left_out`` counts all that was left out since the start."""

    def __init__(self, lines_max: int = LINES_MAX, window_s: float = WINDOW_S) -> None:
        self._lines_max = lines_max
        self._window_s = window_s
        self._windows: dict[str, _Window] = {}
        self.left_out = 0

    def admits(self, key: str, now: float) -> bool:
        """Tell whether this line of code may speak now; ask `due` first, or what its last window left out is lost."""
        window = self._windows.get(key)
        if window is None or window.until <= now:
            self._windows.pop(key, None)
            while len(self._windows) >= KEYS_MAX:
                del self._windows[next(iter(self._windows))]
            window = self._windows[key] = _Window(now + self._window_s)
        if window.told < self._lines_max:
            window.told += 1
            return True
        window.left_out += 1
        self.left_out += 1
        return False

    def due(self, now: float) -> list[tuple[str, int]]:
        """Return which lines of code left how much out in windows that are over, once each."""
        over = [key for key, window in self._windows.items() if window.until <= now]
        ended = [(key, self._windows.pop(key).left_out) for key in over]
        return [(key, count) for key, count in ended if count]
