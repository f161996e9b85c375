"""What two devices say in an anchor's room, sealed from the anchor: the stand-in for TLS where no QUIC connection is.

Both draw an X25519 key and say its public half, in clear (RFC 7748). H = SHA-256("cis/1 room" ‖ number ‖ taker's ‖
shower's) takes the place of the certificate's hash: it enters the transcript of SPAKE2 and what the nodes sign. So an
anchor that stands in the middle, with a key of its own towards each, makes another H on each side, the exchange fails,
and the code is burnt: it has one guess, as anybody in the middle of a QUIC connection has.

The exchange is sealed under keys of the X25519 secret and H. Every later stream, by which one side joins, is sealed
under keys that take the result of SPAKE2 as well (`confirm`)::

    cipher = RoomCipher(42, is_taker=True, entropy=os.urandom)
    cipher.agree(public_of_the_other)            # what it said first; H is cipher.binding from now on
    chunk = cipher.seal(stream, kind, data)      # header in clear: stream(1) ‖ kind(1)
    stream, kind, data = cipher.open(chunk)      # PeerFault where the other side did not make it, or out of turn
"""

from __future__ import annotations

from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cis.errors import Fault, PeerFault
from cis.trust.identity import Entropy

PUBLIC_LENGTH = 32
OVERHEAD = 18
"""Bytes a chunk is longer than what it carries."""
EXCHANGE_STREAM = 0
"""The stream of the exchange itself, sealed before SPAKE2 has a result."""
CLOSING_STREAM = 255
"""What the end of all streams is said on; sealed like the exchange, since it may come before a result."""
_EARLY = frozenset({EXCHANGE_STREAM, CLOSING_STREAM})


class RoomCipher:
    """One side of a room; ``public`` is to be said first, ``binding`` is H."""

    def __init__(self, number: int, entropy: Entropy, *, is_taker: bool) -> None:
        self._private = X25519PrivateKey.from_private_bytes(entropy(32))
        self.public = self._private.public_key().public_bytes_raw()
        self.binding = b""
        self._number = number
        self._is_taker = is_taker
        self._secret = b""
        self._early: _Pair | None = None
        self._late: _Pair | None = None
        self._sent = self._received = 0

    def agree(self, public: bytes) -> None:
        """Take the other side's public key; `PeerFault` where it is none, or this side's own said back."""
        if len(public) != PUBLIC_LENGTH or public == self.public:
            raise PeerFault(Fault.MALFORMED, "the other side of the room did not begin as it should")
        try:
            self._secret = self._private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError as error:  # of small order
            raise PeerFault(Fault.MALFORMED, "the other side's key is unusable") from error
        both = self.public + public if self._is_taker else public + self.public
        self.binding = sha256(b"cis/1 room" + self._number.to_bytes(2, "big") + both).digest()
        self._early = self._pair(self._secret, b"exchange")

    def confirm(self, secret: bytes) -> None:
        """Take what SPAKE2 led to, for all streams but that of the exchange."""
        self._late = self._pair(self._secret + secret, b"joining")

    def seal(self, stream: int, kind: int, data: bytes) -> bytes:
        """Return the next chunk this side says."""
        header, nonce = bytes((stream, kind)), self._sent.to_bytes(12, "big")
        self._sent += 1
        return header + self._of(stream).own.encrypt(nonce, data, header)

    def open(self, chunk: bytes) -> tuple[int, int, bytes]:
        """Return what the other side said next; `PeerFault` where it did not say that."""
        if len(chunk) < OVERHEAD:
            raise PeerFault(Fault.MALFORMED, "a chunk without content")
        header, nonce = chunk[:2], self._received.to_bytes(12, "big")
        self._received += 1
        try:
            return header[0], header[1], self._of(header[0]).other.decrypt(nonce, chunk[2:], header)
        except InvalidTag as error:
            raise PeerFault(Fault.BAD_HASH, "somebody stands between the devices") from error

    def _of(self, stream: int) -> _Pair:
        pair = self._early if stream in _EARLY else self._late
        if pair is None:
            raise PeerFault(Fault.MALFORMED, "a stream before the exchange was over")
        return pair

    def _pair(self, secret: bytes, phase: bytes) -> _Pair:
        taker, shower = (
            ChaCha20Poly1305(HKDF(SHA256(), 32, self.binding, b"cis/1 room " + phase + b"\0" + side).derive(secret))
            for side in (b"taker", b"shower")
        )
        return _Pair(taker, shower) if self._is_taker else _Pair(shower, taker)


class _Pair:
    def __init__(self, own: ChaCha20Poly1305, other: ChaCha20Poly1305) -> None:
        self.own = own
        self.other = other
