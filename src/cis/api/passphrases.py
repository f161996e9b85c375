"""Where passphrases come from, for what sits above: it loads nothing else."""

from __future__ import annotations

from cis.node.passphrases import FILE_VARIABLE, VARIABLE, asking, given_passphrase, read_passphrase
from cis.node.passphrases import use_file as use_passphrase_file

__all__ = ["FILE_VARIABLE", "VARIABLE", "asking", "given_passphrase", "read_passphrase", "use_passphrase_file"]
