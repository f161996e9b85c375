"""Where a node lives, settled without loading the settings: many commands need no more."""

from __future__ import annotations

import os
from pathlib import Path

HOME_VARIABLE = "CIS_HOME"
HOME_DEFAULT = "~/.cis"


def home_of(flag: Path | None) -> Path:
    """Return the folder everything lives in: ``--home``, else ``CIS_HOME``, else ``~/.cis``."""
    return Path(flag or os.environ.get(HOME_VARIABLE) or HOME_DEFAULT).expanduser().absolute()
