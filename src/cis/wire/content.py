"""What lies inside a sealed body: key, value, category, tags, vector; padded by PADMÉ.

PADMÉ (Nikitin et al., PETS 2019) rounds lengths so that a size tells at most O(log log n) bits, at a cost
of at most 12 %.
"""

from __future__ import annotations

import enum

import msgspec

from cis.errors import UsageError

KEY_BYTES_MAX = 512
VALUE_BYTES_MAX = 256 * 1024
WORD_BYTES_MAX = 64
TAGS_MAX = 32
VECTOR_BYTES_MAX = 4096 * 4
COUNT_MAX = (1 << 62) - 1
TTL_MS_MAX = 1 << 46
_PAD_MARK = b"\x80"


class Form(enum.IntEnum):
    """How the bytes of a value are to be read."""

    TEXT = 0
    JSON = 1
    BYTES = 2


class Content(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The plaintext of one change. A set's ``value`` is the element; a counter has totals instead."""

    key: str
    value: bytes = b""
    form: int = Form.TEXT
    category: str = "note"
    tags: tuple[str, ...] = ()
    ttl_ms: int = 0
    """0: does not expire; else hidden from the change's HLC time plus this on."""
    vector: bytes = b""
    """float32, little-endian"""
    vector_model: str = ""
    added: int = 0
    subtracted: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Content).decode


def encode_content(content: Content) -> bytes:
    """Return the padded plaintext."""
    plain = _encode(content)
    length = len(plain) + 1
    return plain + _PAD_MARK + bytes(padme(length) - length)


def decode_content(plaintext: bytes) -> Content:
    """Return the content of a padded plaintext; ValueError when it is not one, or breaks a limit."""
    end = plaintext.rfind(_PAD_MARK)
    if end < 0 or plaintext.count(0, end) != len(plaintext) - end - 1:
        raise ValueError("no padding mark")
    try:
        content = _decode(plaintext[:end])
        check_content(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UsageError as error:
        raise ValueError(str(error)) from None
    return content


def padme(length: int) -> int:
    """Return the PADMÉ length for a positive ``length``."""
    exponent = length.bit_length() - 1
    if exponent < 1:
        return length
    mask = (1 << exponent - exponent.bit_length()) - 1
    return (length + mask) & ~mask


def check_content(content: Content) -> None:
    """Raise `UsageError` naming the limit a content breaks."""
    _check_key(content.key)
    key = content.key
    if len(content.value) > VALUE_BYTES_MAX:
        raise UsageError(f"the value of {key!r} is {len(content.value):,} bytes; at most {VALUE_BYTES_MAX:,}")
    words = (content.category, *content.tags, content.vector_model)
    if not all(content.tags):
        raise UsageError(f"{key!r} has an empty tag: leave it out")
    if len(content.tags) > TAGS_MAX or max(map(_bytes, words)) > WORD_BYTES_MAX:
        raise UsageError(f"{key!r}: at most {TAGS_MAX} tags, each word at most {WORD_BYTES_MAX} bytes of UTF-8")
    if len(content.vector) > VECTOR_BYTES_MAX or len(content.vector) % 4:
        raise UsageError(f"the vector of {key!r} must be float32, at most {VECTOR_BYTES_MAX // 4} of them")
    if not (0 <= content.added <= COUNT_MAX and 0 <= content.subtracted <= COUNT_MAX):
        raise UsageError(f"the counter {key!r} would leave the range of ±2⁶²")
    if not 0 <= content.ttl_ms <= TTL_MS_MAX:
        raise UsageError(f"the time to live of {key!r} must be 0 to {TTL_MS_MAX} ms")
    if not 0 <= content.form <= Form.BYTES:
        raise UsageError(f"the value of {key!r} is of an unknown form: text, JSON or bytes")


def _check_key(key: str) -> None:
    length = _bytes(key)
    if not 0 < length <= KEY_BYTES_MAX:
        size = "not valid UTF-8" if length > len(key) * 4 else f"{length} bytes"
        raise UsageError(f"key {key[:40]!r} must be 1 to {KEY_BYTES_MAX} bytes of UTF-8, is {size}")
    if not key.isprintable() and any(ord(character) < 32 or ord(character) == 127 for character in key):
        raise UsageError(f"key {key[:40]!r} holds a control character: choose a printable key")


def _bytes(text: str) -> int:
    """Return the length in UTF-8; of text that has none (lone surrogates), more than any limit."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return 1 << 62
