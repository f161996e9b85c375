"""What becomes of a datagram that belongs to no connection.

It is answered statelessly (version negotiation, Retry), let in if it is an Initial that ``admission`` has
room for, or dropped and counted. No state is kept for anybody who was not let in.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cis.net.admission import Admission, Evict, admit, network_of
from cis.net.admission import Newcomer as Asking
from cis.net.expected import Expectations
from cis.net.limits import Drop, EndpointCounters, NetLimits, Refusal
from cis.net.paths import Path, unmapped
from cis.net.qh3_core import (
    CID_BYTES,
    INITIAL_MIN_BYTES,
    InitialHeader,
    RawAddress,
    new_cid,
    parse_long_header,
    retry_packet,
    speaks,
    version_negotiation_packet,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cis.net.admission import Occupant
    from cis.net.paths import Carrier
    from cis.net.retry import RetryTokens

_log = logging.getLogger(__name__)
_LONG_HEADER = 0x80
_QUIC_BITS = 0xC0
"""RFC 7983, RFC 9443: QUIC sets one of the top two bits, STUN neither."""


@dataclass(frozen=True, slots=True)
class Newcomer:
    """An Initial that may become a connection."""

    destination_cid: bytes
    original_cid: bytes
    retry_cid: bytes | None
    """Set if its address is proven by our Retry."""
    path: Path
    """Where it came from; as expected, if it was."""
    expected: bool = False


class Register(Protocol):
    """Who is here, and who came in vain (``roster.Roster``)."""

    def occupants(self) -> Sequence[Occupant]:
        """What counts against the limits."""

    def failed_too_often(self, network: str) -> bool:
        """Whether connections from there came to nothing too often lately."""

    def evict(self, who: object) -> None:
        """End the connection of an occupant, in favour of another."""


class Doorway:
    """Decides about strangers; what it answers leaves by the carrier the question came on."""

    def __init__(
        self,
        limits: NetLimits,
        counters: EndpointCounters,
        tokens: RetryTokens,
        register: Register,
    ) -> None:
        self._limits = limits
        self._counters = counters
        self._tokens = tokens
        self._register = register
        self._expectations = Expectations(limits.expected_max)

    def use_limits(self, limits: NetLimits) -> None:
        """Let other limits hold for who comes from now on."""
        self._limits = limits

    def expect(self, path: Path) -> Callable[[], None]:
        """Let in who comes on ``path`` as one that was waited for, until the call returned is made."""
        return self._expectations.add(path)

    def consider(self, data: bytes, carrier: Carrier, address: RawAddress, now: float) -> Newcomer | None:
        """Return the newcomer to let in, if this is one; never raises, whatever ``data`` is."""
        try:
            outcome = self._judge(data, Path(carrier, address), now)
        except Exception as error:  # noqa: BLE001 - the per-peer boundary
            _log.debug("a stranger's datagram raised %s", type(error).__name__, exc_info=error)
            outcome = Drop.MALFORMED
        match outcome:
            case Drop():
                self._counters.dropped[outcome] += 1
            case Refusal():
                self._counters.refused[outcome] += 1
            case Newcomer():
                return outcome
        return None

    def _judge(self, data: bytes, path: Path, now: float) -> Newcomer | Drop | Refusal | None:
        """Look at the form; None means that it was answered."""
        if not data or not data[0] & _QUIC_BITS:
            return Drop.NOT_QUIC
        header = parse_long_header(data) if data[0] & _LONG_HEADER else None
        if header is None:
            return Drop.MALFORMED if data[0] & _LONG_HEADER else Drop.UNKNOWN_CONNECTION
        if len(data) < INITIAL_MIN_BYTES:  # nothing is answered that could amplify
            return Drop.SHORT
        if header.version and not speaks(header.version):
            self._counters.version_negotiations_sent += 1
            path.carrier.send([version_negotiation_packet(header)], path.address)
            return None
        return self._knock(header, path, now) if header.initial else Drop.UNKNOWN_CONNECTION

    def _knock(self, header: InitialHeader, path: Path, now: float) -> Newcomer | Drop | Refusal | None:
        """Let a well-formed Initial in, ask for proof of its address, or refuse it."""
        asked = header.destination_cid
        if len(asked) < CID_BYTES:  # RFC 9000 §7.2
            return Drop.MALFORMED
        where = unmapped(path.address)
        original = self._tokens.original_cid(header.token, where, asked, now) if header.token else None
        if header.token and original is None:  # we give tokens in Retry only, so this one is stale or forged
            return Drop.BAD_TOKEN
        network = network_of(where[0])
        expected = self._expectations.find(path)
        failed = self._register.failed_too_often(network)
        asking = Asking(network, original is not None, failed, expected is not None)
        verdict = admit(asking, self._register.occupants(), self._limits)
        if isinstance(verdict, Evict):
            self._register.evict(verdict.who)
            verdict = Admission.ACCEPT
        if verdict is Admission.ACCEPT:
            if expected is not None:
                expected.left -= 1
                path = expected.path
            retry_cid = asked if original else None
            return Newcomer(asked, original or asked, retry_cid, path, expected is not None)
        if verdict is Admission.PROVE_ADDRESS:
            retry_cid = new_cid()
            token = self._tokens.issue(where, asked, retry_cid, now)
            self._counters.retries_sent += 1
            path.carrier.send([retry_packet(header, retry_cid, token)], path.address)
            return None
        return verdict
