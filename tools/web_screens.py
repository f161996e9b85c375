"""Pictures of the page of `cis web` for the documentation, of a node that runs; `tools.screens` calls this."""

from __future__ import annotations

import re
from pathlib import Path

from tools.browser import browser_page, web, why_not

PICTURES = {
    "web-node": ("Node", "#topology svg"),
    "web-memories": ("Memories", ".hit"),
    "web-conflicts": ("Conflicts", "#conflict-list article"),
}
"""By the names of their files: the part of the page, and what is in it once it is there."""


def write_web_screens(home: Path, folder: Path) -> list[Path]:
    """Take a picture of each part of the page; returns the files, none where no browser can be driven (`why_not`)."""
    if why_not() is not None:
        return []
    written = []
    with web(home) as link, browser_page(width=1000, height=640) as watched:
        watched.page.goto(link)
        for name, (part, awaited) in PICTURES.items():
            watched.page.get_by_role("navigation").get_by_role("link", name=re.compile(part)).click()
            watched.page.locator(awaited).first.wait_for()
            if part == "Memories":
                watched.page.locator(awaited).first.click()
                watched.page.locator("#opened-title").wait_for()
            written.append(folder / f"{name}.png")
            watched.page.mouse.move(0, 0)
            watched.page.screenshot(path=written[-1], full_page=part == "Node")
    return written
