"""The labelled queries, and that searching by words and meaning together finds more than either does alone."""

from __future__ import annotations

from collections import Counter

import pytest

from cis.api.memories.meaning_search import Alike
from cis.api.memories.search_options import Weights
from cis.api.memories.searching import fuse
from cis.api.memories.word_search import Row
from cis.bench.search_quality import labelled_memories, labelled_queries, measure_quality
from cis.embedding.minilm import find_model


def test_the_set_is_large_enough_and_its_labels_name_its_memories() -> None:
    memories, queries = labelled_memories(), labelled_queries()
    keys = [memory.key for memory in memories]
    assert len(keys) == len(set(keys)) >= 300
    assert len(queries) == len({query.query for query in queries}) >= 200
    assert all(query.relevant and set(query.relevant) <= set(keys) for query in queries)
    assert min(Counter(query.kind for query in queries).values()) >= 10


@pytest.mark.skipif(find_model() is None, reason="needs the embedding model (requirements/model.txt)")
def test_both_together_find_more_than_words_or_meaning_alone() -> None:
    quality = measure_quality()
    assert quality is not None
    recall = quality.recall_at_5
    assert recall["hybrid"] > max(recall["words"], recall["meaning"])
    assert recall["hybrid"] >= 0.88


def test_what_holds_less_than_half_of_the_query_comes_after_all_that_mean_it() -> None:
    alike = [Alike(Row(number, b"", 1), 0.5 - number / 100) for number in (1, 2, 3)]
    accident, answer = Row(4, b"", 1, 0.3), Row(3, b"", 1, 0.9)
    ranked = fuse([accident, answer], alike, Weights())
    assert [one.row.number for one in ranked] == [3, 1, 2, 4]
    assert [one.row.number for one in fuse([answer, accident], [], Weights())] == [3, 4]
