"""Workloads are seeded, distinct, and overwrite half of what is there."""

from __future__ import annotations

from collections import Counter

from cis.bench.workload import Workload
from cis.model import SpaceId

SPACE = SpaceId(bytes(16))


def test_the_same_seed_gives_the_same_memories() -> None:
    load = Workload(50, vector_dim=8)
    assert list(load.writes(SPACE)) == list(load.writes(SPACE))
    assert list(load.writes(SPACE)) != list(Workload(50, vector_dim=8, seed=8).writes(SPACE))


def test_each_memory_has_a_key_of_its_own_a_value_of_the_size_asked_and_a_vector() -> None:
    writes = list(Workload(100, value_bytes=33, vector_dim=8).writes(SPACE))
    assert len({write.content.key for write in writes}) == 100
    assert {len(write.content.value) for write in writes} == {33}
    assert {len(write.content.vector) for write in writes} == {32}


def test_onto_what_is_there_half_overwrite_in_random_order() -> None:
    load = Workload(100, onto=200)
    there = [write.content.key for write in load.base(SPACE)]
    written = [write.content.key for write in load.writes(SPACE)]
    assert (len(there), len(set(written))) == (200, 100)
    assert len(set(written) & set(there)) == 50
    assert written != sorted(written)
    assert load.distinct == len({*there, *written}) == 250


def test_fewer_memories_than_half_are_all_overwritten() -> None:
    load = Workload(100, onto=10)
    written = {write.content.key for write in load.writes(SPACE)}
    assert written >= {write.content.key for write in load.base(SPACE)}
    assert load.distinct == len(written) == 100


def test_words_of_a_language_fill_values_of_the_size_asked_and_some_are_far_more_common_than_others() -> None:
    values = [write.content.value for write in Workload(200, 150, language=True).writes(SPACE)]
    assert {len(value) for value in values} == {150}
    counts = sorted(Counter(word for value in values for word in value.split()).values(), reverse=True)
    assert counts[0] > 20 * counts[len(counts) // 2]
