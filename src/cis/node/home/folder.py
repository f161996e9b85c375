"""The folder everything of one node lives in, and the paths within it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

SOCKET_PATH_MAX = 100
"""Bytes of a Unix socket's path that every system takes (Linux 108, macOS 104, with the final NUL)."""

_SECRETS = (b"credential", b"token", b"password", b"secret")
"""How settings name what a relay asks for, an anchor, and whatever a plugin uses."""


@dataclass(frozen=True)
class Home:
    """Paths of a node's files; nothing is created by asking for one."""

    folder: Path

    @property
    def identity(self) -> Path:
        """The identity key, 0600."""
        return self.folder / "identity.key"

    @property
    def store_key(self) -> Path:
        """The store's key, wrapped by the identity."""
        return self.folder / "store.key"

    @property
    def config(self) -> Path:
        """The settings."""
        return self.folder / "config.toml"

    @property
    def bootstrap(self) -> Path:
        """What the peer book remembers between runs."""
        return self.folder / "bootstrap.json"

    @property
    def bootstrap_bad(self) -> Path:
        """What made no sense in it, a JSON value a line."""
        return self.folder / "bootstrap.json.bad"

    @property
    def peers_before(self) -> Path:
        """What earlier versions wrote in its place."""
        return self.folder / "peers.json"

    @property
    def store(self) -> Path:
        """The store's truth, sealed memories and all."""
        return self.folder / "memory.db"

    def private_files(self) -> list[Path]:
        """Return the files that nobody but the owner may open, whether they are there or not.

        The settings are among them once they hold a credential.
        """
        databases = [self.store, self.folder / "index.db"]
        beside = [Path(f"{path}{end}") for path in databases for end in ("", "-wal", "-shm")]
        known = [self.bootstrap, self.bootstrap_bad, self.peers_before]
        return [self.identity, self.store_key, *beside, *known, self.log, *self._secret_config()]

    def _secret_config(self) -> list[Path]:
        with contextlib.suppress(OSError):
            written = self.config.read_bytes()
            if any(name in written for name in _SECRETS):
                return [self.config]
        return []

    @property
    def log(self) -> Path:
        """Where a detached node writes its log."""
        return self.folder / "node.log"

    @property
    def pairing(self) -> Path:
        """When codes of pairing failed lately."""
        return self.folder / "pairing.json"

    @property
    def socket(self) -> Path:
        """The control socket: in the home, or where the home's path is too long for one, in a folder of our own."""
        inside = self._real_folder / "control.sock"
        if len(os.fsencode(inside)) <= SOCKET_PATH_MAX:
            return inside
        mark = hashlib.blake2b(os.fsencode(self.folder.resolve()), digest_size=8).hexdigest()
        base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
        return base / f"cis-{_user()}-{mark}" / "control.sock"

    @property
    def _real_folder(self) -> Path:
        """The folder itself where the home is a link to it: what is in it is its owner's, whoever made the link."""
        return self.folder.resolve() if self.folder.is_symlink() else self.folder

    @property
    def exists(self) -> bool:
        """Whether `cis init` was run here."""
        return self.identity.exists()


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
