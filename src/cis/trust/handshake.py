"""The handshake (RULES: connection): two pure machines that authenticate a fresh QUIC connection both ways.

    D → L  hello    versions, nonce, HMAC(K, "D" ‖ H ‖ nonce ‖ versions)
    L → D  answer   version, nonce, id, HMAC(K, "L" ‖ T), Sig("cis/1 listener" ‖ cluster ‖ T)
    D → L  proof    id, its grants, Sig("cis/1 dialler" ‖ cluster ‖ T)
    L → D  accept   D's id, the digest of the membership log, its own grants; or a refusal with its reason

K is the discovery key of the cluster, the secret of a live ticket, or a key these two members share alone
(`cis.trust.pairwise`). H is the SHA-256 of the listener's
certificate, so all of it is bound to this TLS channel, and one in the middle has another H. T is BLAKE2b
over H and the exact bytes of all frames before this one. HMAC is HMAC-SHA256 (RFC 2104).

Until the proof verifies, every failure is one and the same REFUSED, but for two that only who knows K can
meet: no common VERSION, and SELF. The driver of a machine sends what a `Step` gives,
closes on `Refused` with its fault, and applies the limit of time.
"""

from __future__ import annotations

import enum
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from cis.errors import Fault, PeerFault
from cis.model import NodeId
from cis.trust.identity import Entropy, Identity, Label, verify
from cis.wire.handshake import (
    HANDSHAKE_BYTES_MAX,
    VERSIONS,
    Accept,
    Answer,
    Hello,
    Proof,
    Refuse,
    choose_version,
    decode_answer,
    decode_hello,
    decode_proof,
    decode_verdict,
    encode_frame,
    encode_hello,
)
from cis.wire.pairing import is_start

KEYS_MAX = 384
"""The discovery key, live tickets, and the keys shared with each other member alone."""
NONCE_LENGTH = 32

Judge = Callable[[NodeId, Sequence[bytes]], Fault | None]
"""Whether a node may come in, given the grants it shows: `cis.trust.membership.Membership.judge`."""


class KeyUsed(enum.Enum):
    """By what the dialler showed that it belongs here."""

    DISCOVERY = "discovery"
    TICKET = "ticket"


@dataclass(frozen=True, slots=True)
class HandshakeKey:
    """A key K: the discovery key, or one shared with a member; with ``ticket_id`` the secret of that ticket."""

    secret: bytes
    ticket_id: bytes | None = None

    @property
    def used(self) -> KeyUsed:
        """Which of the two it is."""
        return KeyUsed.DISCOVERY if self.ticket_id is None else KeyUsed.TICKET


@dataclass(frozen=True, slots=True)
class Local:
    """What this side brings: its keys, cluster, own grants, the digest of its log, its judgement of others.

    ``certificate_hash`` is H: the SHA-256 of the listener's certificate in DER, as each side saw it.
    """

    identity: Identity
    cluster: bytes
    certificate_hash: bytes
    chain: tuple[bytes, ...]
    membership: bytes
    judge: Judge
    versions: tuple[int, ...] = VERSIONS


@dataclass(frozen=True, slots=True)
class Authenticated:
    """The other side is ``node``, on this channel, now.

    With a ticket it is not thereby a member: it may ask to join, and nothing else. ``membership`` is the
    digest of the listener's log, which only the dialler learns: equal to its own, there is nothing to do.
    """

    node: NodeId
    cluster: bytes
    version: int
    key_used: KeyUsed
    ticket_id: bytes | None
    membership: bytes | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The handshake failed: close with ``fault`` and no text; ``detail`` is for this side alone.

    A dialler's ``detail`` may be the listener's words: escape it wherever it is shown.
    """

    fault: Fault
    detail: str


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from a frame: bytes to send first, if any, and the outcome, if that was the end."""

    send: bytes | None = None
    outcome: Authenticated | Refused | None = None


class Transcript:
    """H and the frames so far, and how many bytes they have."""

    def __init__(self, certificate_hash: bytes) -> None:
        assert len(certificate_hash) == 32
        self._hash = blake2b(certificate_hash, digest_size=32, person=b"cis transcript")
        self._room = HANDSHAKE_BYTES_MAX

    def take(self, frame: bytes) -> bytes:
        """Take a frame in, received or about to be sent; `PeerFault` TOO_LARGE beyond 16 KiB in all."""
        self._room -= len(frame)
        if self._room < 0:
            raise PeerFault(Fault.TOO_LARGE, f"a handshake of more than {HANDSHAKE_BYTES_MAX} bytes")
        self._hash.update(len(frame).to_bytes(4, "big") + frame)
        return frame

    def digest(self) -> bytes:
        """Return T."""
        return self._hash.digest()


class Dialler:
    """The side that dialled; ``expected`` is whom it dialled, None for any member of the cluster."""

    def __init__(self, local: Local, key: HandshakeKey, expected: NodeId | None, entropy: Entropy) -> None:
        if key.ticket_id is not None and expected is None:
            raise ValueError("a ticket is redeemed by its issuer: name the issuer as expected")
        self._local = local
        self._key = key
        self._expected = expected
        self._nonce = entropy(NONCE_LENGTH)
        self._transcript = Transcript(local.certificate_hash)
        self._answer: Answer | None = None
        self._done = False

    def start(self) -> bytes:
        """Return the hello, the first frame of all."""
        offered = offer(self._local.certificate_hash, self._nonce, self._local.versions)
        mac = _mac(self._key.secret, offered)
        return self._transcript.take(encode_hello(self._local.versions, self._nonce, mac))

    def receive(self, frame: bytes) -> Step:
        """Take the listener's next frame; never raises on what it holds."""
        assert not self._done
        try:
            step = self._prove(frame) if self._answer is None else self._conclude(frame, self._answer)
        except PeerFault as fault:
            step = _refused(str(fault))
        self._done = step.outcome is not None
        return step

    def _prove(self, frame: bytes) -> Step:
        answer, before = decode_answer(frame), self._transcript.digest()
        if not hmac.compare_digest(answer.mac, _mac(self._key.secret, b"L" + before)):
            return _refused("the other side does not know this cluster, or stands between us and it")
        if not verify(answer.node, Label.LISTENER, self._local.cluster + before, answer.signature):
            return _refused("the other side could not prove the identity it claims")
        if answer.node == self._local.identity.node:
            return _refused("this address leads back to this very node", Fault.SELF)
        if self._expected is not None and not hmac.compare_digest(answer.node, self._expected):
            return _refused("another node answers at this address than the one dialled")
        if answer.version not in self._local.versions:
            return _refused("the other side chose a version this side did not offer")
        self._answer = answer
        self._transcript.take(frame)
        local, signed = self._local, self._local.cluster + self._transcript.digest()
        proof = Proof(local.identity.node, local.chain, local.identity.sign(Label.DIALLER, signed))
        return Step(send=self._transcript.take(encode_frame(proof)))

    def _conclude(self, frame: bytes, answer: Answer) -> Step:
        verdict = decode_verdict(frame)
        self._transcript.take(frame)
        if isinstance(verdict, Refuse):
            return Step(outcome=Refused(_known_fault(verdict.fault), verdict.text))
        if verdict.node != self._local.identity.node:
            return _refused("the other side accepted another node than this one")
        if self._key.ticket_id is None:
            fault = self._local.judge(answer.node, verdict.chain)
            if fault is not None:
                return _refused("the node there is no member of this cluster", fault)
        return Step(outcome=_authenticated(self._local, self._key, answer.node, answer.version, verdict.membership))


class Listener:
    """The side that was dialled; it answers to any of ``keys``, at most ``KEYS_MAX``."""

    def __init__(self, local: Local, keys: Sequence[HandshakeKey], entropy: Entropy) -> None:
        if len(keys) > KEYS_MAX:
            raise ValueError(f"a listener answers to at most {KEYS_MAX} keys, not {len(keys)}")
        self._local = local
        self._keys = tuple(keys)
        self._nonce = entropy(NONCE_LENGTH)
        self._transcript = Transcript(local.certificate_hash)
        self._agreed: tuple[HandshakeKey, int] | None = None
        self._done = False

    def receive(self, frame: bytes) -> Step:
        """Take the dialler's next frame; never raises on what it holds."""
        assert not self._done
        try:
            step = self._answer(frame) if self._agreed is None else self._decide(frame, *self._agreed)
        except PeerFault as fault:
            step = _refused(str(fault))
        self._done = step.outcome is not None
        return step

    def _answer(self, frame: bytes) -> Step:
        if is_start(frame):
            return _refused("a pairing code was typed on another device, and none is waited for here: run `cis pair`")
        hello = decode_hello(frame)
        key = self._key_of(hello)
        if key is None:
            return _refused("the dialler does not know this cluster, and holds no ticket that is live here")
        version = choose_version(hello.versions, self._local.versions)
        if version is None:
            return _refused(f"the dialler speaks only versions {hello.versions}", Fault.VERSION)
        self._agreed = (key, version)
        self._transcript.take(frame)
        local, before = self._local, self._transcript.digest()
        signature = local.identity.sign(Label.LISTENER, local.cluster + before)
        mac = _mac(key.secret, b"L" + before)
        answer = Answer(version, self._nonce, local.identity.node, mac, signature)
        return Step(send=self._transcript.take(encode_frame(answer)))

    def _key_of(self, hello: Hello) -> HandshakeKey | None:
        """Try every key whichever fits, so that the time taken tells nothing."""
        signed = offer(self._local.certificate_hash, hello.nonce, hello.versions)
        found = None
        for key in self._keys:
            if hmac.compare_digest(hello.mac, _mac(key.secret, signed)):
                found = key
        return found

    def _decide(self, frame: bytes, key: HandshakeKey, version: int) -> Step:
        proof, signed = decode_proof(frame), self._local.cluster + self._transcript.digest()
        self._transcript.take(frame)
        if not verify(proof.node, Label.DIALLER, signed, proof.signature):
            return _refused("the dialler could not prove the identity it claims")
        if proof.node == self._local.identity.node:
            return _refused("this very node dialled itself", Fault.SELF)
        fault = None if key.ticket_id is not None else self._local.judge(proof.node, proof.chain)
        if fault is not None:
            text = _REASONS.get(fault, "this node may not come in")
            return Step(encode_frame(Refuse(fault, text)), Refused(fault, text))
        accept = Accept(proof.node, self._local.membership, self._local.chain)
        frame = self._transcript.take(encode_frame(accept))
        return Step(frame, _authenticated(self._local, key, proof.node, version, None))


def offer(certificate_hash: bytes, nonce: bytes, versions: Sequence[int]) -> bytes:
    """Return what the MAC of a hello is taken of."""
    return b"D" + certificate_hash + nonce + b"".join(version.to_bytes(2, "big") for version in versions)


_REASONS = {
    Fault.NOT_MEMBER: "this node is no member of the cluster: ask an admin for an invitation (`cis invite`)",
    Fault.UNAUTHORISED: "this node's membership was taken away: ask an admin of the cluster",
    Fault.BANNED: "this node broke the protocol and is banned for some minutes: try again later",
}


def _mac(secret: bytes, message: bytes) -> bytes:
    return hmac.digest(secret, message, "sha256")


def _refused(detail: str, fault: Fault = Fault.REFUSED) -> Step:
    return Step(outcome=Refused(fault, detail))


def _known_fault(number: int) -> Fault:
    try:
        return Fault(number)
    except ValueError:
        return Fault.REFUSED


def _authenticated(
    local: Local, key: HandshakeKey, node: NodeId, version: int, membership: bytes | None
) -> Authenticated:
    return Authenticated(node, local.cluster, version, key.used, key.ticket_id, membership)
