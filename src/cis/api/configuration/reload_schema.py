"""What is asked of a running node about its settings."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from cis.api.control.protocol import Request


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the settings that were changed, by their names."""

    applied: tuple[str, ...] = ()
    """taken up now"""
    restart: tuple[str, ...] = ()
    """that hold from the next start on, those changed before among them"""


class ReloadSettings(Request[Reloaded], frozen=True, kw_only=True):
    """Read the settings again and take up what a running node can; an error where they do not load."""

    path: ClassVar[str] = "settings/reload"
