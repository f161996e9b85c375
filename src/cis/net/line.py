"""The line of one endpoint, and each connection's share of it: who waits for a turn to send, who is read no further.

A turn is asked for before stream data is handed to QUIC and paid in advance; datagrams as they leave take what was
paid, and what they need beyond that (headers, acknowledgements, what is urgent, what is sent again) is owed, so that
those who wait make up for it. What comes in is owed as it comes. Peers of the local network are neither limited nor
counted, unless the settings say so. What the limits are, and when, `shaping` says.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING

from cis.net.nearby import Nearby
from cis.net.paths import unmapped
from cis.net.shaping import Bandwidth, Shaper
from cis.net.waiting import Change

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from cis.net.paths import Path
    from cis.net.shaping import Shares


class Line:
    """Enforces the limits of the hour; ``on_changed`` is called when they become others."""

    def __init__(self, on_changed: Callable[[], None]) -> None:
        self.shaper = Shaper()
        self._loop = asyncio.get_running_loop()
        self._nearby = Nearby(self._loop.time)
        self._bandwidth = Bandwidth()
        self._on_changed = on_changed
        self._timer: asyncio.Handle | None = None
        self._shares: dict[Share, None] = {}

    @property
    def shares(self) -> Shares:
        """The limits at this hour."""
        return self.shaper.shares

    def use(self, bandwidth: Bandwidth) -> None:
        """Let these limits hold from now on."""
        exempt, self._bandwidth = self._bandwidth.lan_exempt, bandwidth
        self._look(changed=exempt != bandwidth.lan_exempt)

    def limits(self, path: Path) -> bool:
        """Tell whether a path is one the limits are for."""
        exempt = self._bandwidth.lan_exempt and not path.relayed and self._nearby.covers(unmapped(path.address)[0])
        return not exempt

    def window_bytes(self, path: Path, most: int) -> int:
        """Return the credit for a connection on a path, ``most`` where nothing limits it."""
        return self.shaper.window_bytes(most) if self.limits(path) else most

    def fits(self, path: Path, window_bytes: int, most: int) -> bool:
        """Tell whether a credit given is about that which would be given now."""
        return 0.5 <= window_bytes / self.window_bytes(path, most) <= 2.0

    def share(self, path_of: Callable[[], Path]) -> Share:
        """Return the share of a new connection."""
        share = Share(self, path_of)
        self._shares[share] = None
        return share

    def leave(self, share: Share) -> None:
        """A connection has ended."""
        self._shares.pop(share, None)

    def close(self) -> None:
        """Look at the clock no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, *, changed: bool = False) -> None:
        """Enforce what holds at this hour, and look again when that may be over."""
        local = datetime.now()  # noqa: DTZ005 - hours are those of the clock on the wall
        if self.shaper.enforce(self._bandwidth.shares_at(local)) or changed:
            for share in list(self._shares):
                share.begin_again()
            self._on_changed()
        self.close()
        if self._bandwidth.off_peak is not None:
            self._timer = self._loop.call_later(self._bandwidth.off_peak.look_again_in_s(local), self._look)


class Share:
    """What one connection has of the line.

    ``peer_of`` tells whose account it is on; before that is known nothing waits.
    """

    def __init__(self, line: Line, path_of: Callable[[], Path]) -> None:
        self.peer_of: Callable[[], Hashable] = lambda: None
        self._line = line
        self._path_of = path_of
        self._loop = asyncio.get_running_loop()
        self.on_changed: Callable[[], None] | None = None
        """called when nothing is owed any more, as the limits are others"""
        self._changed = Change()
        self._paid = 0.0
        self._owed_until = 0.0
        self._ended = False

    @property
    def limited(self) -> bool:
        """Whether what it sends waits for its turn."""
        if self._line.shaper.upload.free or self.peer_of() is None or self._ended:
            return False
        return self._line.limits(self._path_of())

    @property
    def slice_bytes(self) -> int:
        """How much to ask a turn for."""
        return self._line.shaper.slice_bytes

    async def wait_turn(self, size: int) -> float:
        """Wait until so many bytes may be handed to QUIC, or the connection has ended; returns for how long it did."""
        upload, began = self._line.shaper.upload, self._loop.time()
        while self.limited:
            owed_s = upload.spend(self.peer_of(), size, self._loop.time())
            self._paid += size
            if not owed_s:
                break
            try:
                async with asyncio.timeout(owed_s):
                    await self._changed.wait()
            except TimeoutError:
                break
            except asyncio.CancelledError:
                self._give_back(size)
                raise
        return self._loop.time() - began

    def sent(self, datagrams: list[bytes]) -> None:
        """These have left."""
        upload = self._line.shaper.upload
        if upload.free or not self._line.limits(self._path_of()):
            return
        size = sum(map(len, datagrams))
        paid = min(self._paid, size)
        self._paid -= paid
        if size > paid:
            upload.spend(self.peer_of(), size - paid, self._loop.time())

    def received(self, datagrams: list[bytes]) -> None:
        """These have come."""
        download = self._line.shaper.download
        if not download.free and self._line.limits(self._path_of()):
            now = self._loop.time()
            self._owed_until = now + download.spend(self.peer_of(), sum(map(len, datagrams)), now)

    @property
    def owed_s(self) -> float:
        """For how long to read no further, as more came than may; a stranger's handshake is bounded anyway."""
        return max(0.0, self._owed_until - self._loop.time()) if self.peer_of() is not None else 0.0

    def begin_again(self) -> None:
        """The limits are others: nothing is paid or owed, and turns are asked for anew."""
        self._paid = self._owed_until = 0.0
        self._changed.notify()
        if self.on_changed is not None:
            self.on_changed()

    def end(self) -> None:
        """Let nobody wait any more."""
        self._ended = True
        self._line.leave(self)
        self.begin_again()

    def _give_back(self, size: int) -> None:
        back = min(self._paid, size)
        self._paid -= back
        self._line.shaper.upload.spend(self.peer_of(), -back, self._loop.time())
