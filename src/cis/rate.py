"""Rates: token buckets by key, and one on its own (RFC 2697 §3 with one rate). Pure: ``now`` comes in.

A bucket holds up to ``burst`` tokens and gains ``per_s`` a second. `Bucket.take` takes where there are enough;
`Bucket.spend` takes even into debt and says how long that is to be waited out, which slows a sender down without
losing what it sent::

    pace = Bucket(per_s=500, burst=4000)
    await asyncio.sleep(pace.spend(3.0, now))
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Bucket:
    """Begins full."""

    __slots__ = ("_at", "_burst", "_held", "_per_s")

    def __init__(self, *, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._held = burst
        self._at: float | None = None

    def take(self, cost: float, now: float) -> bool:
        """Take ``cost`` tokens if there are as many."""
        self._fill(now)
        if self._held < cost:
            return False
        self._held -= cost
        return True

    def spend(self, cost: float, now: float) -> float:
        """Take ``cost`` tokens whether they are there or not; returns in how many seconds none will be owed."""
        self._fill(now)
        self._held -= cost
        return max(0.0, -self._held / self._per_s)

    def wait_s(self, cost: float, now: float) -> float:
        """Return in how many seconds ``cost`` tokens will be there, if none are taken."""
        self._fill(now)
        return max(0.0, (cost - self._held) / self._per_s)

    def _fill(self, now: float) -> None:
        if self._at is not None and now > self._at:
            self._held = min(self._burst, self._held + (now - self._at) * self._per_s)
        self._at = now


class Rates(Generic[Key]):
    """A bucket for each key, those not used for longest forgotten beyond ``keys_max``."""

    def __init__(self, *, per_s: float, burst: float, keys_max: int = 4096) -> None:
        self._per_s = per_s
        self._burst = burst
        self._keys_max = keys_max
        self._buckets: OrderedDict[Key, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: Key, now: float, cost: float = 1.0) -> bool:
        """Take tokens of the key's if there are as many."""
        return self._of(key).take(cost, now)

    def spend(self, key: Key, now: float, cost: float = 1.0) -> float:
        """Take tokens of the key's, into debt if need be; returns in how many seconds none will be owed."""
        return self._of(key).spend(cost, now)

    def spent(self, key: Key, now: float) -> bool:
        """Tell whether the key has no token left; keeps nothing of keys that never spent any."""
        bucket = self._buckets.get(key)
        return bucket is not None and bucket.wait_s(1.0, now) > 0.0

    def _of(self, key: Key) -> Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= self._keys_max:
                self._buckets.popitem(last=False)
            bucket = self._buckets[key] = Bucket(per_s=self._per_s, burst=self._burst)
        self._buckets.move_to_end(key)
        return bucket
