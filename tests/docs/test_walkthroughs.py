"""Every command of the README and the tutorials runs, in order, on devices of its own, and prints what is shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cis.embedding.minilm import find_model
from tests.docs.walkthrough import ROOT, Step, Walk, fits, steps_of

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "tutorials").glob("*.md"))]


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "one.md").write_text("A note.\n", encoding="utf-8")
    walking = Walk(tmp_path)
    yield walking
    walking.end()


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_does_what_it_says(walk: Walk, page: Path) -> None:
    if find_model() is None and page.parent.name == "tutorials":
        pytest.skip("needs the embedding model (requirements/model.txt)")
    if page.name == "your-notes.md":
        (walk.folder / "notes" / "one.md").unlink()
    for step in steps_of(page.read_text(encoding="utf-8")):
        walk.run(step)
        if step.words[-2:] == ["memory", "watch"]:
            note = walk.folder / "notes" / "backup.md"
            note.write_text(note.read_text("utf-8").replace("every first Sunday", "every Sunday"), encoding="utf-8")


def test_what_is_shown_must_be_printed() -> None:
    assert fits(["dark mode"], "dark mode\n")
    assert fits(["key  when", "a  2026-01-01"], "key  when\na    2027-02-02\n")
    assert not fits(["dark mode"], "light mode\n")
    assert not fits(["first", "second"], "second\nfirst\n")
    assert not fits(["a", "b"], "a\n")


def test_steps_are_read_with_their_device_and_output() -> None:
    page = "```console\na$ cis memory get k   # why\nv\nb$ cis down\n```\n```console\ncis status\n```\n"
    assert steps_of(page) == [
        Step("a", ["cis", "memory", "get", "k"], ["v"]),
        Step("b", ["cis", "down"], []),
        Step("", ["cis", "status"], []),
    ]
