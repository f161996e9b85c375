"""A bulletin on the wire: something its author tells all members, sealed to them and signed.

The statement is signed as the bytes it arrived in. Who is no reader of the members' space checks the signature and
passes it on; topic and text are inside the seal.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from cis.errors import Fault, PeerFault
from cis.wire.content import padme
from cis.wire.decoding import Milliseconds, Node, Signature, decode_message
from cis.wire.gossip import BODY_BYTES_MAX, BULLETIN_TAG
from cis.wire.segment import SALT_LENGTH

TOPIC_BYTES_MAX = 128
PAYLOAD_BYTES_MAX = 48 * 1024
"""What fits into a gossip body with the rest, however it is padded."""
SESSION_LENGTH = 8
_PAD_MARK = b"\x80"


class BulletinStatement(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Who tells it, the how-manieth of which of its runs, when by its own clock, and the seal's epoch and salt."""

    author: Node
    session: Annotated[bytes, msgspec.Meta(min_length=SESSION_LENGTH, max_length=SESSION_LENGTH)]
    number: Annotated[int, msgspec.Meta(ge=1, lt=1 << 62)]
    sent_ms: Milliseconds
    epoch: Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]
    salt: Annotated[bytes, msgspec.Meta(min_length=SALT_LENGTH, max_length=SALT_LENGTH)]
    sealed: Annotated[bytes, msgspec.Meta(max_length=BODY_BYTES_MAX)]


class SignedBulletin(msgspec.Struct, array_like=True, tag=BULLETIN_TAG, frozen=True, forbid_unknown_fields=True):
    """A statement's bytes and its author's signature over them."""

    statement: Annotated[bytes, msgspec.Meta(max_length=BODY_BYTES_MAX)]
    signature: Signature


class BulletinContent(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What is inside the seal."""

    topic: Annotated[str, msgspec.Meta(min_length=1, max_length=TOPIC_BYTES_MAX)]
    payload: Annotated[bytes, msgspec.Meta(max_length=PAYLOAD_BYTES_MAX)]


_SIGNED = msgspec.msgpack.Decoder(SignedBulletin)
_STATEMENT = msgspec.msgpack.Decoder(BulletinStatement)
_CONTENT = msgspec.msgpack.Decoder(BulletinContent)
encode_bulletin_part = msgspec.msgpack.Encoder().encode


def decode_bulletin(body: bytes) -> tuple[SignedBulletin, BulletinStatement]:
    """Return a bulletin and its statement; `PeerFault` where it is none."""
    signed = decode_message(_SIGNED, body, what="a bulletin", bytes_max=BODY_BYTES_MAX)
    return signed, decode_message(_STATEMENT, signed.statement, what="a bulletin", bytes_max=BODY_BYTES_MAX)


def encode_content(content: BulletinContent) -> bytes:
    """Return a content as the plaintext to seal, padded to a PADMÉ length."""
    plain = encode_bulletin_part(content) + _PAD_MARK
    return plain.ljust(padme(len(plain)), b"\0")


def decode_content(plaintext: bytes) -> BulletinContent:
    """Return the content of a padded plaintext; `PeerFault` where it is none."""
    end = plaintext.rfind(_PAD_MARK)
    if end < 0 or plaintext.count(0, end) != len(plaintext) - end - 1:
        raise PeerFault(Fault.MALFORMED, "a bulletin's content has no padding mark")
    content = decode_message(_CONTENT, plaintext[:end], what="a bulletin's content", bytes_max=BODY_BYTES_MAX)
    if len(content.topic.encode(errors="surrogatepass")) > TOPIC_BYTES_MAX:
        raise PeerFault(Fault.MALFORMED, f"a topic of over {TOPIC_BYTES_MAX} bytes")
    return content
