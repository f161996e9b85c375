"""Failed codes of the last hour, kept in a file: three of them stop pairing, whichever process counted them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from cis.errors import Denied
from cis.trust.codes import BURNS_MAX, Burns
from cis.trust.files import replace_private

_log = logging.getLogger(__name__)
_BYTES_MAX = 4096


class BurnFile:
    """An exchange counts as failed from its begin until it is absolved, so one that is killed counts too."""

    def __init__(self, path: Path, clock_ms: Callable[[], int]) -> None:
        self._path = path
        self._clock_ms = clock_ms

    def check(self) -> None:
        """Raise `Denied` while pairing is stopped, saying for how long."""
        if (stopped_ms := self._load().stopped_ms(self._clock_ms())) > 0:
            raise Denied(
                f"{BURNS_MAX} codes failed within an hour, as if somebody were guessing: pairing is stopped on this "
                f"device for another {-(-stopped_ms // 60_000)} min. A ticket works meanwhile: `cis invite` on an "
                "admin's device, `cis join` on the new one"
            )

    def begin(self) -> int:
        """Count an exchange as failed; returns when, for `absolve`."""
        now_ms = self._clock_ms()
        self._save(self._load().plus(now_ms))
        return now_ms

    def absolve(self, begun_ms: int) -> None:
        """Take back what `begin` counted: the exchange succeeded."""
        self._save(self._load().minus(begun_ms))

    def left(self) -> int:
        """Return how many more may fail before pairing stops."""
        return self._load().left(self._clock_ms())

    def _load(self) -> Burns:
        try:
            with self._path.open("rb") as file:
                return msgspec.json.decode(file.read(_BYTES_MAX), type=Burns)
        except FileNotFoundError:
            return Burns()
        except (OSError, msgspec.MsgspecError) as error:
            _log.warning("%s cannot be read and begins anew: %s", self._path, error)
            return Burns()

    def _save(self, burns: Burns) -> None:
        """Write it whole; where the disk refuses, the exchange must not go on uncounted, so that is raised."""
        replace_private(self._path, msgspec.json.encode(burns))
