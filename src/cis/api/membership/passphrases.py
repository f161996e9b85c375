"""Where passphrases come from, for what sits above: it loads nothing else."""

from __future__ import annotations

from pathlib import Path

from cis.node.home.passphrases import FILE_VARIABLE, VARIABLE, asking, given_passphrase, read_passphrase
from cis.node.home.passphrases import use_file as use_passphrase_file

__all__ = [
    "FILE_VARIABLE",
    "VARIABLE",
    "asking",
    "given_passphrase",
    "needs_passphrase",
    "read_passphrase",
    "use_passphrase_file",
]


def needs_passphrase(home: Path) -> bool:
    """Tell whether the key of a home is under a passphrase; True where there is none that could be read."""
    from cis.errors import CisError  # noqa: PLC0415 - asked only where somebody names a file
    from cis.node.home.folder import Home  # noqa: PLC0415 - as above
    from cis.trust.keyfile import PassphraseLock, read_identity  # noqa: PLC0415 - as above

    try:
        return isinstance(read_identity(Home(home).identity).lock, PassphraseLock)
    except CisError:  # whoever opens it says what is wrong
        return True
