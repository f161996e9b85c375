"""The settings ``memory``, as search and embedding take them; it loads without what reads settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cis.embedding.choosing import EmbeddingOptions

if TYPE_CHECKING:
    from cis.api.configuration.settings_schema import Settings


@dataclass(frozen=True)
class Weights:
    """How much being found by either half counts."""

    words: float = 1.0
    meaning: float = 1.0


@dataclass(frozen=True)
class SearchOptions:
    """What a node finds memories by."""

    embedding: EmbeddingOptions = field(default_factory=EmbeddingOptions)
    weights: Weights = field(default_factory=Weights)


DEFAULTS = SearchOptions()
"""What the settings say where nobody set them."""


def search_options_of(settings: Settings) -> SearchOptions:
    """Return what the settings say."""
    search = settings.memory.search
    return SearchOptions(settings.memory.embedding.parsed(), Weights(search.word_weight, search.meaning_weight))
