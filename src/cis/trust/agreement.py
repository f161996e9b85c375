"""One run of SPAKE2 (Abdalla, Pointcheval 2005; RFC 9382): two sides that hold the same code come to the same key.

Each sends an element, and learns from the other's neither the code nor whether it is the same. ::

    agreement = Agreement(code.secret, taking=True, entropy=entropy)
    send(agreement.element)
    key = agreement.key(received)          # PeerFault for what is no element

A room of its own, since spake2 computes its groups when it is loaded and few nodes ever pair.
"""

from __future__ import annotations

from typing import Final

from spake2 import SPAKE2_A, SPAKE2_B, SPAKEError
from spake2.ed25519_basic import NotOnCurve

from cis.errors import Fault, PeerFault
from cis.trust.identity import Entropy

_NAMES = (b"cis taker", b"cis shower")


class Agreement:
    """Good for one run: ``element`` is what the other side is sent."""

    element: Final[bytes]

    def __init__(self, secret: bytes, *, taking: bool, entropy: Entropy) -> None:
        self._spake = (SPAKE2_A if taking else SPAKE2_B)(secret, *_NAMES, entropy_f=entropy)
        self._other = b"B" if taking else b"A"
        self.element = self._spake.start()[1:]

    def key(self, element: bytes) -> bytes:
        """Return the key; `PeerFault` for what is no element of the group, or our own sent back."""
        try:
            found: bytes = self._spake.finish(self._other + element)
        except (SPAKEError, NotOnCurve, ValueError) as error:
            raise PeerFault(Fault.BAD_HASH, f"the other side's message is unusable: {error}") from error
        return found
