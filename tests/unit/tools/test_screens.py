"""The pictures in the documentation: text, that loads nothing, and is shown somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tools.screens import FOLDER, picture

ROOT = Path(__file__).resolve().parents[3]
PICTURES = sorted(FOLDER.glob("*.svg"))


def elsewhere(svg: str) -> list[str]:
    """What a picture would load: all addresses but names of XML's vocabularies and those within it."""
    return re.findall(r"(?:url\(|href=|src=|@import)\s*[\"']?(?!#)[^\"')\s]+", svg)


def test_a_picture_is_the_text_that_was_printed_and_loads_nothing() -> None:
    svg = picture("cis status", "laptop$ cis status\n<script> [red]x[/red]")
    shown = "".join(ET.fromstring(svg).itertext()).replace("\xa0", " ")
    assert "<script> [red]x[/red]" in shown
    assert elsewhere(svg) == []


def test_a_font_from_elsewhere_would_be_found() -> None:
    assert elsewhere('<style>@font-face { src: url("https://example.net/a.woff2") }</style>') != []
    assert elsewhere('<image href="https://example.net/a.png"/>') != []


@pytest.mark.parametrize("file", PICTURES, ids=lambda file: file.name)
def test_every_picture_is_well_formed_loads_nothing_and_is_shown_on_a_page(file: Path) -> None:
    svg = file.read_text(encoding="utf-8")
    ET.fromstring(svg)
    assert elsewhere(svg) == []
    pages = (page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md"))
    assert any(f"figures/screens/{file.name})" in page for page in pages)
