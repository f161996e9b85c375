"""How much of the line connections may use: limits for all and for each peer, and hours with limits of their own.

What is limited are bytes of datagrams, headers of UDP and IP apart. A sender is given its turns by slices
(`Direction.spend` says how long each waits), so that QUIC's congestion control never sees a limit as loss. A receiver
cannot be: credit already given may be used at once. `window_bytes` therefore keeps it small where a limit is set, and
who sent more is not given more until the time for it has passed. Pure: ``now`` comes in, token buckets are `rate`'s::

    upload = Direction()
    upload.limit(100 << 10, peer_per_s=0)
    await asyncio.sleep(upload.spend(peer, 65536, now))
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cis.rate import Bucket, Rates

if TYPE_CHECKING:
    from collections.abc import Hashable
    from datetime import time

BURST_S = 0.1
"""After a rest so much may pass at once, in time at the limit."""
BURST_BYTES_MIN = 2048.0
"""A datagram always may."""
SLICE_S = 0.05
SLICE_BYTES_MIN, SLICE_BYTES_MAX = 1 << 10, 64 << 10
WINDOW_S = 0.25
"""Credit of a connection, in time at the limit: it reaches the limit where a round trip takes no longer."""
WINDOW_BYTES_MIN = 16 << 10
LOOK_AGAIN_S = 60.0
"""How long the clock may have been set, or summer have begun, unnoticed."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Limits in bytes a second, 0 for none."""

    upload: int = 0
    download: int = 0
    peer_upload: int = 0
    peer_download: int = 0

    @property
    def to_one(self) -> int:
        """The limit of what one peer gets, 0 for none."""
        return _lower(self.upload, self.peer_upload)

    @property
    def from_one(self) -> int:
        """The limit of what comes from one peer, 0 for none."""
        return _lower(self.download, self.peer_download)


@dataclass(frozen=True, slots=True)
class OffPeak:
    """Limits for all peers together from ``start`` to ``end`` by the clock on the wall, perhaps over midnight."""

    start: time
    end: time
    upload: int = 0
    download: int = 0

    def holds_at(self, local: datetime) -> bool:
        """Tell whether it is one of these hours: what the clock shows counts, however often it shows it."""
        clock = local.time()
        if self.start <= self.end:
            return self.start <= clock < self.end
        return clock >= self.start or clock < self.end

    def look_again_in_s(self, local: datetime) -> float:
        """Return in how many seconds at the latest to ask `holds_at` again."""
        switches = (datetime.combine(local, at, local.tzinfo) for at in (self.start, self.end))
        waits = [(switch - local) % timedelta(days=1) for switch in switches]
        return min(LOOK_AGAIN_S, *(wait.total_seconds() for wait in waits if wait))


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """What the settings say."""

    shares: Shares = Shares()
    off_peak: OffPeak | None = None
    lan_exempt: bool = True

    def shares_at(self, local: datetime) -> Shares:
        """Return the limits that hold at a local time."""
        usual, other = self.shares, self.off_peak
        if other is None or not other.holds_at(local):
            return usual
        return Shares(other.upload, other.download, usual.peer_upload, usual.peer_download)


class Direction:
    """One direction of the line; keeps an account for all, and one for each peer."""

    def __init__(self) -> None:
        self._all: Bucket | None = None
        self._each: Rates[Hashable] | None = None

    @property
    def free(self) -> bool:
        """Whether there is no limit."""
        return self._all is None and self._each is None

    def limit(self, per_s: int, *, peer_per_s: int) -> None:
        """Let these limits hold from now on; what was owed under others is forgotten."""
        self._all = Bucket(per_s=per_s, burst=_burst(per_s)) if per_s else None
        self._each = Rates(per_s=peer_per_s, burst=_burst(peer_per_s)) if peer_per_s else None

    def spend(self, peer: Hashable, size: float, now: float) -> float:
        """Note that so many bytes pass, for a peer; returns in how many seconds nothing will be owed."""
        owed_s = self._all.spend(size, now) if self._all is not None else 0.0
        return max(owed_s, self._each.spend(peer, now, size) if self._each is not None else 0.0)


class Shaper:
    """The limits in force, both ways."""

    def __init__(self) -> None:
        self.shares = Shares()
        self.upload, self.download = Direction(), Direction()

    def enforce(self, shares: Shares) -> bool:
        """Let these limits hold; returns whether they are others than before."""
        if shares == self.shares:
            return False
        before, self.shares = self.shares, shares
        if (before.upload, before.peer_upload) != (shares.upload, shares.peer_upload):
            self.upload.limit(shares.upload, peer_per_s=shares.peer_upload)
        if (before.download, before.peer_download) != (shares.download, shares.peer_download):
            self.download.limit(shares.download, peer_per_s=shares.peer_download)
        return True

    @property
    def slice_bytes(self) -> int:
        """How much is handed to QUIC in one turn, so that others' turns come soon."""
        limit = self.shares.to_one
        return min(SLICE_BYTES_MAX, max(SLICE_BYTES_MIN, int(limit * SLICE_S))) if limit else SLICE_BYTES_MAX

    def window_bytes(self, most: int) -> int:
        """Return the credit of a connection under the limits, at most ``most``."""
        limit = self.shares.from_one
        return min(most, max(WINDOW_BYTES_MIN, int(limit * WINDOW_S))) if limit else most


def _burst(per_s: int) -> float:
    return max(BURST_BYTES_MIN, per_s * BURST_S)


def _lower(one: int, other: int) -> int:
    return min(one, other) if one and other else one or other
