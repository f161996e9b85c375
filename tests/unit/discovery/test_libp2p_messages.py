"""What a node and its libp2p worker say: it arrives as it was sent, and nothing else does."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cis.discovery.libp2p.messages import (
    HEADER_LENGTH,
    MEMBERS_MAX,
    SEALED_BYTES_MAX,
    TAGS_EACH_MAX,
    TO_NODE_BYTES_MAX,
    TO_WORKER_BYTES_MAX,
    Begin,
    Found,
    Seek,
    Show,
    Standing,
    ToNode,
    ToWorker,
    Trouble,
    framed,
    length_of,
    to_node,
    to_worker,
)
from cis.discovery.libp2p.process import words_of
from cis.errors import PeerFault

TAG = bytes(range(16))
FULL = Seek(tuple((TAG,) * TAGS_EACH_MAX for _ in range(MEMBERS_MAX)))


@pytest.mark.parametrize(
    "message",
    [Begin("::", 4001, ("/dnsaddr/x",), private=True, loopback=False), Show(TAG, b"s" * 600, ("192.0.2.7",)), FULL],
)
def test_orders_arrive_as_they_were_given(message: ToWorker) -> None:
    frame = framed(message)
    assert length_of(frame[:HEADER_LENGTH], bytes_max=TO_WORKER_BYTES_MAX) == len(frame) - HEADER_LENGTH
    assert to_worker(frame[HEADER_LENGTH:]) == message


@pytest.mark.parametrize("message", [Standing(7, True, Trouble.NONE), Found(TAG, b"s" * SEALED_BYTES_MAX)])
def test_news_arrive_as_they_were_told(message: ToNode) -> None:
    frame = framed(message)
    assert length_of(frame[:HEADER_LENGTH], bytes_max=TO_NODE_BYTES_MAX) == len(frame) - HEADER_LENGTH
    assert to_node(frame[HEADER_LENGTH:]) == message


@pytest.mark.parametrize("length", [0, TO_NODE_BYTES_MAX + 1, (1 << 32) - 1])
def test_a_length_out_of_bounds_is_a_fault_before_anything_is_read(length: int) -> None:
    with pytest.raises(PeerFault):
        length_of(length.to_bytes(HEADER_LENGTH, "big"), bytes_max=TO_NODE_BYTES_MAX)


@pytest.mark.parametrize(
    "body",
    [
        [4, -1, True, 0],
        [4, 1, True, 9],
        [5, b"short", b"sealed"],
        [5, TAG, b""],
        [5, TAG, bytes(SEALED_BYTES_MAX + 1)],
        [5, TAG, b"sealed", "more"],
        [2, TAG, b"sealed", []],
        {"tag": 5},
        7,
    ],
)
def test_what_a_worker_never_says_is_a_fault(body: object) -> None:
    with pytest.raises(PeerFault):
        to_node(msgspec.msgpack.encode(body))


@given(st.binary(max_size=300))
def test_no_bytes_do_worse_than_a_fault(body: bytes) -> None:
    for decode in (to_node, to_worker):
        try:
            decode(body)
        except PeerFault:
            continue


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"a fetch failed with OpenConnectionError", "a fetch failed with OpenConnectionError"),
        (b"OSError: [Errno 111] to /ip4/192.0.2.7/tcp/4001/p2p/12D3KooWKn from 2001:db8::7", "OSError: to from"),
        (b"bootstrap.example.net did not resolve", "did not resolve"),
        (b"\x1b[31mred\xff", ""),
        (b"word " * 10_000, " ".join(["word"] * 24)),
    ],
)
def test_of_what_it_complains_of_the_log_has_the_words_and_no_address(line: bytes, words: str) -> None:
    assert words_of(line) == words
