"""Which texts are embedded now: a node's own at once, others' after a while or when somebody searches."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from cis.api.memories.embedding_due import DONE_S, GRACE_S, REFUSED_S, SEEN_MAX, Due

OURS, THEIRS = b"o" * 32, b"t" * 32


def text(memory: bytes, node: bytes, digest: bytes = b"d") -> Any:
    return SimpleNamespace(memory=memory, digest=digest, author=node + b"incarnat")


def test_what_this_node_wrote_is_due_at_once_in_every_incarnation() -> None:
    first, second = text(b"1", OURS), SimpleNamespace(memory=b"2", digest=b"d", author=OURS + b"another1")
    assert Due(OURS).choose([first, second], 0.0, 0) == ([first, second], None)


def test_others_texts_wait_from_when_they_were_first_seen() -> None:
    due, one, two = Due(OURS), text(b"1", THEIRS), text(b"2", THEIRS)
    assert due.choose([one], 100.0, 0) == ([], GRACE_S)
    assert due.choose([two, one], 110.0, 0) == ([], GRACE_S - 10)
    assert due.choose([two, one], 100.0 + GRACE_S, 0) == ([one], 10.0)


def test_an_edit_begins_to_wait_anew() -> None:
    due = Due(OURS)
    due.choose([text(b"1", THEIRS, b"old")], 0.0, 0)
    assert due.choose([text(b"1", THEIRS, b"new")], GRACE_S, 0) == ([], GRACE_S)


def test_a_search_has_the_newest_embedded_and_no_more() -> None:
    texts = [text(bytes([number]), THEIRS) for number in range(5)]
    assert Due(OURS).choose(texts, 0.0, 2)[0] == texts[:2]


def test_what_was_embedded_is_not_again_until_its_text_changes() -> None:
    due, one = Due(OURS), text(b"1", OURS)
    due.done([one], 0.0)
    assert due.choose([one], DONE_S - 1, 9) == ([], None)
    edited = text(b"1", OURS, b"new")
    assert due.choose([edited], 0.0, 0) == ([edited], None)
    assert due.choose([one], DONE_S, 0) == ([one], None)


def test_what_the_model_refused_is_left_aside_for_long_or_until_its_text_changes() -> None:
    due, one, two = Due(OURS), text(b"1", OURS), text(b"2", OURS)
    due.refuse([one], 0.0)
    assert (due.choose([one, two], REFUSED_S - 1, 9)[0], due.aside) == ([two], 1)
    edited = text(b"1", OURS, b"new")
    assert (due.choose([edited], 0.0, 0)[0], due.aside) == ([edited], 0)
    assert (due.choose([one], REFUSED_S, 0)[0], due.aside) == ([one], 0)


def test_what_is_remembered_is_bounded() -> None:
    due = Due(OURS)
    for number in range(3 * SEEN_MAX):
        due.choose([text(number.to_bytes(4, "big"), THEIRS)], 0.0, 0)
    assert len(due._seen_s) <= SEEN_MAX + 1
