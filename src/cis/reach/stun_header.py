"""What the head of a STUN message says (RFC 8489 §5), read without the rest of it and without what reads the rest."""

from __future__ import annotations

HEADER_BYTES = 20


def transaction_id(data: bytes) -> bytes:
    """Return the transaction id of what may be a STUN message."""
    return data[8:HEADER_BYTES]


def is_request(data: bytes) -> bool:
    """Whether a STUN message asks for something; its other classes answer or tell."""
    return len(data) > 1 and not data[0] & 0x01 and not data[1] & 0x10
