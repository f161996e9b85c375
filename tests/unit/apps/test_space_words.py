"""What is said of what a device keeps."""

from __future__ import annotations

import pytest

from cis.api.membership.trust_schema import Kept
from cis.apps.cli.space import described


@pytest.mark.parametrize(
    ("keeps", "said"),
    [
        (Kept(), "everything"),
        (Kept(vectors=False), "all but vectors"),
        (Kept(names=True), "names alone"),
        (Kept(names=True, vectors=False), "names alone, without vectors"),
        (Kept(prefixes=("work/",), categories=("task",)), "values under work/, of task, and all names"),
        (Kept(prefixes=("a", "b"), vectors=False), "values under a, under b, without vectors, and all names"),
    ],
)
def test_a_policy_is_said_in_words(keeps: Kept, said: str) -> None:
    assert described(keeps) == said
