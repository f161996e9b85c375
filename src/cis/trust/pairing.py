"""Pairing (RULES: joining): two pure machines that turn a short code, typed by a person, into a ticket.

The shower of the code listens, its taker dials. The words of the code have 16 bits, so whoever tries must be held to
one guess: SPAKE2 (`agreement`) makes a strong key of the code such that one run tests one guess and a listener-in
learns nothing. It neither notices a wrong code nor confirms the key, so the frames after it
are sealed under keys by HKDF from it, over H and every frame so far:

    T → S  start    versions, X                as long as a hello
    S → T  reply    version, Y, commitment               binds S to its introduction, and tells nothing of it
    T → S  intro    sealed: nonce; who it is, how it stands   proves the code to S, which has named nobody yet
    S → T  intro    sealed: the same                     proves it to T; keyed by all before, T's id included
    T → S  ready    sealed: it will join;  or offer      keyed by both ids: from here S knows that T has its claim
    S → T  offer    sealed: the ticket, if T joins

H is the SHA-256 of the listener's certificate, so one in the middle with another makes other keys on each side. One
who knows the code can hold an exchange with each side; then the words differ that people compare. They are a hash of
ids, cluster and both nonces, S's fixed before it learns T's and T's before it learns S's (Vaudenay 2005), so nobody
can search for claims that lead to equal words: one try hits once in 2^32. Any end but an outcome is `Broken`, and the
code is spent: who drives the machines never runs one code twice.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cis.errors import CisError, Fault, PeerFault
from cis.trust.codes import Code
from cis.trust.handshake import Transcript
from cis.trust.identity import Entropy
from cis.trust.invites import Ticket, parse_ticket
from cis.trust.words import words_of
from cis.wire.handshake import VERSIONS, choose_version
from cis.wire.pairing import (
    Claim,
    Introduction,
    Offer,
    PairingMessage,
    Ready,
    Reply,
    Sealed,
    decode_box,
    decode_reply,
    decode_sealed,
    decode_start,
    encode_claim,
    encode_pairing,
    encode_sealed,
    encode_start,
)

FINGERPRINT_WORDS = 4
NONCE_BYTES = 32
_SEAL_NONCE = bytes(12)
"""Every key seals one frame."""


class Side(bytes, enum.Enum):
    """Which end of the code."""

    TAKER = b"taker"
    SHOWER = b"shower"


class Clash(enum.Enum):
    """Why two devices that know the code cannot become one cluster."""

    SELF = "self"
    SAME_CLUSTER = "same cluster"
    BOTH_SETTLED = "both settled"
    NOT_ADMIN = "not admin"


@dataclass(frozen=True, slots=True)
class Agreed:
    """The other side proved the code and waits: make a ticket bound to its node, and send `offer` of it."""

    peer: Claim
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Offered:
    """The other side proved the code and gave this node a ticket."""

    peer: Claim
    words: tuple[str, ...]
    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Clashed:
    """The other side proved the code, but the two do not go together; it knows too."""

    peer: Claim
    clash: Clash


@dataclass(frozen=True, slots=True)
class Broken:
    """The exchange failed: burn the code, close with REFUSED and no text; ``detail`` is for this side alone."""

    detail: str


@dataclass(frozen=True, slots=True)
class PairStep:
    """What follows from a frame: bytes to send first, if any, and the outcome, if that was the end."""

    send: bytes | None = None
    outcome: Agreed | Offered | Clashed | Broken | None = None


def settle(taker: Claim, shower: Claim) -> Side | Clash:
    """Return which side joins the other's cluster; where both could, the shower's stays."""
    if taker.node == shower.node:
        return Clash.SELF
    if taker.cluster == shower.cluster:
        return Clash.SAME_CLUSTER
    if not taker.movable and not shower.movable:
        return Clash.BOTH_SETTLED
    joiner, inviter = (Side.TAKER, shower) if taker.movable else (Side.SHOWER, taker)
    return joiner if inviter.admin else Clash.NOT_ADMIN


def fingerprint(inviter: Claim, joiner: Claim, nonces: bytes) -> tuple[str, ...]:
    """Return the words both sides show: a hash of both ids, the cluster, and both nonces, the taker's first."""
    hashed = blake2b(
        inviter.node + joiner.node + inviter.cluster + nonces, digest_size=FINGERPRINT_WORDS, person=b"cis fingerprint"
    )
    return words_of(hashed.digest())


def commitment(introduction: Introduction) -> bytes:
    """Return what binds the shower to an introduction before it is made; the nonce in it hides the rest."""
    hashed = introduction.nonce + encode_claim(introduction.claim)
    return blake2b(hashed, digest_size=32, person=b"cis commitment").digest()


class _End:
    """What both machines do alike; ``_expect`` takes the next frame."""

    side: Final[Side]

    def __init__(self, side: Side, code: Code, own: Claim, certificate_hash: bytes, entropy: Entropy) -> None:
        from cis.trust.agreement import Agreement  # noqa: PLC0415 - slow to load, and few nodes ever pair

        self.side = side
        self.peer: Claim | None = None
        self._own = own
        self._introduction = Introduction(entropy(NONCE_BYTES), own)
        self._agreement = Agreement(code.secret, taking=side is Side.TAKER, entropy=entropy)
        self._transcript = Transcript(certificate_hash)
        self._certificate_hash = certificate_hash
        self._key = b""
        self._ids = b""
        self._nonces = b""
        self._expect: Callable[[bytes], PairStep] | None = None

    def receive(self, frame: bytes) -> PairStep:
        """Take the other side's next frame; never raises on what it holds."""
        assert self._expect is not None, "the exchange has not begun, or is over"
        try:
            step = self._expect(frame)
        except PeerFault as fault:
            step = PairStep(outcome=Broken(fault.detail))
        if step.outcome is not None:
            self._expect = None
        return step

    def offer(self, ticket: Ticket) -> bytes:
        """Return the frame that hands the ticket over, once `Agreed`."""
        return self._seal(Offer(ticket.to_text()))

    def secret(self) -> bytes:
        """Return what both sides alone know, once each has proved the code: for a channel that has no keys of TLS."""
        assert self._ids, "asked once the exchange is over"
        info = b"cis/1 pairing channel\0" + self._ids
        return HKDF(SHA256(), 32, self._certificate_hash, info).derive(self._key)

    def _seal(self, message: PairingMessage) -> bytes:
        box = self._cipher(self.side).encrypt(_SEAL_NONCE, encode_sealed(message), None)
        return self._transcript.take(encode_pairing(Sealed(box)))

    def _open(self, frame: bytes) -> PairingMessage:
        box = decode_box(frame)
        try:
            other = Side.SHOWER if self.side is Side.TAKER else Side.TAKER
            plain = self._cipher(other).decrypt(_SEAL_NONCE, box, None)
        except InvalidTag as error:
            raise PeerFault(Fault.BAD_HASH, "the codes differ, or somebody stands between the devices") from error
        self._transcript.take(frame)
        return decode_sealed(plain)

    def _cipher(self, sender: Side) -> ChaCha20Poly1305:
        """Return the cipher of that side's next frame, keyed by the code, H, all frames, and both ids once known."""
        info = b"cis/1 pairing " + sender.value + b"\0" + self._ids
        return ChaCha20Poly1305(HKDF(SHA256(), 32, self._transcript.digest(), info).derive(self._key))

    def _bind(self, peer: Introduction) -> Side | Clash:
        """Key what follows by both ids, the taker's first; return who joins whom."""
        self.peer = peer.claim
        own = self._introduction
        taker, shower = (own, peer) if self.side is Side.TAKER else (peer, own)
        self._ids = taker.claim.node + shower.claim.node
        self._nonces = taker.nonce + shower.nonce
        return settle(taker.claim, shower.claim)

    def _introduction_in(self, frame: bytes) -> Introduction:
        message = self._open(frame)
        if not isinstance(message, Introduction):
            raise PeerFault(Fault.MALFORMED, "expected who the other side is")
        return message

    def _offer_in(self, frame: bytes) -> PairStep:
        message, peer = self._open(frame), self.peer
        assert peer is not None
        if not isinstance(message, Offer):
            raise PeerFault(Fault.MALFORMED, "expected a ticket")
        try:
            ticket = parse_ticket(message.ticket)
        except CisError as error:
            raise PeerFault(Fault.MALFORMED, str(error)) from error
        if ticket.issuer != peer.node or ticket.cluster != peer.cluster:
            raise PeerFault(Fault.MALFORMED, "the ticket is not of the node that offers it")
        return PairStep(outcome=Offered(peer, fingerprint(peer, self._own, self._nonces), ticket))


class Taker(_End):
    """The side where the code was typed; it dialled."""

    def __init__(self, code: Code, own: Claim, certificate_hash: bytes, entropy: Entropy) -> None:
        super().__init__(Side.TAKER, code, own, certificate_hash, entropy)
        self._committed = b""
        self.begun = False
        """Whether the other side answered: from then on it had its one guess."""

    def start(self) -> bytes:
        """Return the first frame of all."""
        self._expect = self._replied
        return self._transcript.take(encode_start(VERSIONS, self._agreement.element))

    def _replied(self, frame: bytes) -> PairStep:
        reply = decode_reply(frame)
        if reply.version not in VERSIONS:
            raise PeerFault(Fault.VERSION, "the other side chose a version this side did not offer")
        self._key = self._agreement.key(reply.element)
        self._transcript.take(frame)
        self._committed = reply.commitment
        self.begun = True
        self._expect = self._introduced
        return PairStep(send=self._seal(self._introduction))

    def _introduced(self, frame: bytes) -> PairStep:
        introduction = self._introduction_in(frame)
        if commitment(introduction) != self._committed:
            raise PeerFault(Fault.BAD_HASH, "the other side is not who it was bound to be: somebody stands between")
        joiner, peer = self._bind(introduction), introduction.claim
        if isinstance(joiner, Clash):
            return PairStep(outcome=Clashed(peer, joiner))
        if joiner is Side.SHOWER:
            return PairStep(outcome=Agreed(peer, fingerprint(self._own, peer, self._nonces)))
        self._expect = self._offer_in
        return PairStep(send=self._seal(Ready()))


class Shower(_End):
    """The side that shows the code; it was dialled."""

    def __init__(self, code: Code, own: Claim, certificate_hash: bytes, entropy: Entropy) -> None:
        super().__init__(Side.SHOWER, code, own, certificate_hash, entropy)
        self._expect = self._started

    def _started(self, frame: bytes) -> PairStep:
        start = decode_start(frame)
        version = choose_version(start.versions)
        if version is None:
            raise PeerFault(Fault.VERSION, f"the other device speaks only versions {start.versions}")
        self._key = self._agreement.key(start.element)
        self._transcript.take(frame)
        self._expect = self._introduced
        reply = Reply(version, self._agreement.element, commitment(self._introduction))
        return PairStep(send=self._transcript.take(encode_pairing(reply)))

    def _introduced(self, frame: bytes) -> PairStep:
        introduction = self._introduction_in(frame)
        answer = self._seal(self._introduction)
        joiner, peer = self._bind(introduction), introduction.claim
        if isinstance(joiner, Clash):
            return PairStep(answer, Clashed(peer, joiner))
        self._expect = self._readied if joiner is Side.TAKER else self._offer_in
        return PairStep(send=answer)

    def _readied(self, frame: bytes) -> PairStep:
        assert self.peer is not None
        if not isinstance(self._open(frame), Ready):
            raise PeerFault(Fault.MALFORMED, "expected the other side to be ready")
        return PairStep(outcome=Agreed(self.peer, fingerprint(self._own, self.peer, self._nonces)))
