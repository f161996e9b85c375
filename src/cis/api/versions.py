"""The versions of what seals, signs and stores."""

from __future__ import annotations

from importlib.metadata import version

import apsw
from cryptography.hazmat.backends.openssl.backend import backend

from cis.store.database import SQLITE_VERSION_MIN


def cipher_versions() -> tuple[dict[str, str], str]:
    """Return versions by name, and which one is too old to be safe, empty where none is."""
    versions = {
        "SQLite": apsw.sqlite_lib_version(),
        "cipher": apsw.mc_version.removeprefix("SQLite3 Multiple Ciphers "),  # type: ignore[attr-defined] # not in its stubs
        "OpenSSL": backend.openssl_version_text().removeprefix("OpenSSL ").partition(" ")[0],
        "PyNaCl with libsodium": version("pynacl"),
        "Argon2": version("argon2-cffi-bindings"),
    }
    return versions, "SQLite" if apsw.SQLITE_VERSION_NUMBER < SQLITE_VERSION_MIN else ""
