"""Whether the peer has come to be elsewhere: its NAT gave it another address, or it moved before we did (RFC 9000 §9).

qh3 would follow by itself, but one authentic datagram from an address that then is gone blocks all it sends, and after
three changes it hears no more. So it is told one address for ever, and this decides: whoever authentic datagrams come
from is sent one PING there, and only there, and is followed once that very PING is acknowledged, unless something came
from the old address meanwhile. What is sent there unproven is at most three times what came (§8.1). A peer that
acknowledges what it did not get passes for being there (§21.4); qh3 cannot send a PATH_CHALLENGE at will. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cis.net.paths import Carrier
    from cis.net.qh3_core import RawAddress

_ASK_S = 0.1
_AMPLIFICATION = 3
Place = tuple["Carrier", "RawAddress"]


class Follower:
    """The one place the peer may have moved to."""

    __slots__ = ("_allowance", "_asked", "_asked_at", "_uid", "place")

    def __init__(self) -> None:
        self.place: Place | None = None
        self._allowance = 0
        self._asked: int | None = None
        self._asked_at = 0.0
        self._uid = 0

    def seen(self, place: Place, size: int) -> None:
        """``size`` authentic bytes came from there."""
        if place != self.place:
            self.place, self._allowance, self._asked = place, 0, None
        self._allowance += _AMPLIFICATION * size

    def forget(self) -> None:
        """The peer is where it was."""
        self.place = self._asked = None

    def question(self, now: float) -> int | None:
        """Return the number of the PING to send there now, if it is time for one."""
        if self.place is None or (self._asked is not None and now - self._asked_at < _ASK_S):
            return None
        self._uid += 1
        return self._uid

    def may_send(self, size: int) -> bool:
        """Whether so much may go to an address that is not proven."""
        return size <= self._allowance

    def asked(self, uid: int, size: int, now: float) -> None:
        """The PING of this number, and nothing else that names it, went there."""
        self._allowance -= size
        self._asked, self._asked_at = uid, now

    def answered(self, uid: int) -> Place | None:
        """Return the place to follow to, if this acknowledges the PING sent there."""
        if uid != self._asked:
            return None
        place = self.place
        self.forget()
        return place
