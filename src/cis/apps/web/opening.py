"""Opening a link in the user's browser without showing it to other users of the machine.

What a program is started with can be read by all users, so the browser is given a file that only its owner reads, and
which leads to the link. It is removed when the link was used.
"""

from __future__ import annotations

import contextlib
import html
import os
import sys
import webbrowser
from pathlib import Path

FILE = "web-open.html"
_PAGE = '<!DOCTYPE html><meta charset="utf-8"><title>cis</title><meta http-equiv="refresh" content="0;url={link}">\n'


def has_screen() -> bool:
    """Tell whether a browser with a window can be opened here."""
    if sys.platform in {"darwin", "win32"}:
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def open_link(home: Path, link: str) -> bool:
    """Open a link; False where no browser could be started."""
    file = home / FILE
    forget_link(home)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as opened:
        opened.write(_PAGE.format(link=html.escape(link)))
    return webbrowser.open(file.absolute().as_uri())


def forget_link(home: Path) -> None:
    """Remove the file of a link that was opened."""
    with contextlib.suppress(FileNotFoundError):
        (home / FILE).unlink()
