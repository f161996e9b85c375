"""The page of `cis web` in a headless Chromium of the system, driven by playwright and watched.

::

    with web(home) as link, browser_page() as watched:
        watched.page.goto(link)
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

PATIENCE_S = 60.0
_VIOLATED = "addEventListener('securitypolicyviolation', (e) => console.error('CSP: ' + e.violatedDirective))"


def why_not() -> str | None:
    """Why no browser can be driven here, or None when one can."""
    for package in ("playwright", "axe_playwright_python"):
        if find_spec(package) is None:
            return f"{package} is not installed: `make test` installs it"
    if shutil.which("chromium") is None:
        return "chromium is not installed: apt-get install chromium (`make test` does so where it may)"
    return None


@contextmanager
def web(home: Path) -> Iterator[str]:
    """Run `cis web` on a home; yields its link."""
    command = [sys.executable, "-m", "cis", "--home", str(home), "web", "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:  # noqa: S603 - this very program
        assert process.stdout is not None, "it is piped"
        ender = threading.Timer(PATIENCE_S, process.kill)
        ender.start()
        told = process.stdout.readline().split()
        ender.cancel()
        try:
            assert told, "`cis web` ended, or told no link in time"
            yield told[-1]
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE_S)
        assert process.returncode == 0, "it ends in order when it is interrupted"


@dataclass
class Watched:
    """What a page did: the origins it asked, and what went wrong in it."""

    page: Page
    origins: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)


@contextmanager
def browser_page(*, dark: bool = False, width: int = 1280, height: int = 800) -> Iterator[Watched]:
    """Open a browser without a window, and one page in it."""
    from playwright.sync_api import expect, sync_playwright  # noqa: PLC0415 - may be missing: see `why_not`

    expect.set_options(timeout=PATIENCE_S * 1000)
    options = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses root its sandbox
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=options)
        page = browser.new_page(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            locale="en-GB",
            timezone_id="UTC",
        )
        page.set_default_timeout(PATIENCE_S * 1000)
        page.add_init_script(_VIOLATED)
        watched = Watched(page)
        page.on("request", lambda request: watched.origins.add("/".join(request.url.split("/")[:3])))
        page.on("console", lambda said: watched.wrong.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: watched.wrong.append(str(error)))
        try:
            yield watched
        finally:
            browser.close()
