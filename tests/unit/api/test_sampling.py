"""The sample file: every setting is in it, every profile loads, and what is uncommented in it is read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cis.api.configuration.settings import Row, check_text, describe
from cis.api.telemetry.sampling import PROFILES, sample_of
from cis.errors import UsageError


def rows_of(home: Path, text: str) -> dict[str, Row]:
    (home / "config.toml").write_text(text, encoding="utf-8")
    return {row.key: row for row in describe(home)}


def test_the_sample_sets_nothing_and_holds_every_setting_once(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, sample_of())
    assert {row.origin for row in rows.values()} == {"default"}
    for key, row in rows.items():
        assert len(re.findall(rf"^#{key.rpartition('.')[2]} = ", sample_of(), re.MULTILINE)) >= 1, key
        assert row.meaning
    keys = re.findall(r"^#(?! )(\w+) = ", sample_of(), re.MULTILINE)
    assert len(keys) == len(rows)


def test_what_stands_commented_out_in_the_sample_is_valid_where_it_stands(tmp_path: Path) -> None:
    all_on = re.sub(r"^#(?! )", "", sample_of(), flags=re.MULTILINE)
    rows = rows_of(tmp_path, all_on)
    assert not [row.key for row in rows.values() if row.origin == "default" and row.value]


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_loads_and_sets_just_what_it_says(tmp_path: Path, profile: str) -> None:
    rows = rows_of(tmp_path, sample_of(profile))
    set_here = {key for key, row in rows.items() if row.origin != "default"}
    assert set_here == set(PROFILES[profile][1])
    assert not [key for key in set_here if rows[key].value == rows[key].default], "a default need not be set"


def test_a_profile_there_is_none_of_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"'hom'.*home, office, team, server, anchors-only"):
        sample_of("hom")


def test_a_sample_is_checked_like_a_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"config\.toml:\d+: p2p\.enabled"):
        check_text(tmp_path, sample_of().replace("#enabled = true", "enabled = 1", 1))
