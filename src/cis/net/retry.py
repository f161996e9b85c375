"""Address tokens for QUIC Retry (RFC 9000 §8.1): stateless, so a flood costs us no memory.

A token says: this address asked, at this time, for that connection id. It is not secret, only unforgeable:
an HMAC under a per-boot secret over the address, the id we told the client to use next, and the body.
Layout::

    expiry: u64 milliseconds · length of original id: u8 · original id · HMAC-SHA256, first 16 bytes
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress

_TAG_BYTES = 16
_HEAD_BYTES = 9
_CID_MAX_BYTES = 20


class RetryTokens:
    """Issues and checks tokens; ``now`` is any clock that only moves forward, in seconds."""

    def __init__(self, secret: bytes, lifetime_s: float = 10.0) -> None:
        self._secret = secret
        self._lifetime_s = lifetime_s

    def issue(self, address: tuple[str, int], original_cid: bytes, retry_cid: bytes, now: float) -> bytes:
        """Make a token for a client at ``address`` that will come back asking for ``retry_cid``."""
        expiry = int((now + self._lifetime_s) * 1000)
        body = expiry.to_bytes(8) + bytes([len(original_cid)]) + original_cid
        return body + self._tag(address, retry_cid, body)

    def original_cid(self, token: bytes, address: tuple[str, int], retry_cid: bytes, now: float) -> bytes | None:
        """Return the connection id the client first asked for, or None if the token is not good now."""
        if not _HEAD_BYTES + _TAG_BYTES <= len(token) <= _HEAD_BYTES + _CID_MAX_BYTES + _TAG_BYTES:
            return None
        body, tag = token[:-_TAG_BYTES], token[-_TAG_BYTES:]
        if not hmac.compare_digest(tag, self._tag(address, retry_cid, body)):
            return None
        if int.from_bytes(body[:8]) < now * 1000:
            return None
        return body[_HEAD_BYTES:]

    def _tag(self, address: tuple[str, int], retry_cid: bytes, body: bytes) -> bytes:
        host, port = address
        where = ipaddress.ip_address(host.partition("%")[0]).packed.rjust(16, b"\0") + port.to_bytes(2)
        message = where + bytes([len(retry_cid)]) + retry_cid + body
        return hmac.digest(self._secret, message, hashlib.sha256)[:_TAG_BYTES]
