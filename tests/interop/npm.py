"""Packages from npm for tests against other implementations: installed once for each content, into the user's cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NODE_MAJOR_MIN = 20
INSTALL_S = 300


def npm_folder(name: str) -> Path:
    """The programs of ``tests/interop/<name>`` with their packages beside them; skips where there is no node or npm.

    No lock file: what package.json names is named exactly.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip(f"interop with {name} needs node and npm, and {'node' if node is None else 'npm'} is missing")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < NODE_MAJOR_MIN:
        pytest.skip(f"interop with {name} needs node {NODE_MAJOR_MIN}, and this is {version}")
    sources = sorted([HERE / name / "package.json", *(HERE / name).glob("*.mjs")])
    digest = hashlib.sha256(b"".join(path.name.encode() + b"\0" + path.read_bytes() for path in sources)).hexdigest()
    caches = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cis-interop"
    folder = caches / f"{name}-{digest[:16]}"
    if not folder.exists():
        _install(npm, sources, folder)
    return folder


def _install(npm: str, sources: list[Path], folder: Path) -> None:
    """Install aside and move into place, since another process may be doing the same."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        for source in sources:
            shutil.copy(source, aside)
        words = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund"]
        done = subprocess.run(words, cwd=aside, capture_output=True, text=True, check=False, timeout=INSTALL_S)
        if done.returncode != 0:
            pytest.skip(f"npm could not install what interop needs: {done.stderr.strip()[-300:]}")
        try:
            aside.rename(folder)
        except OSError:
            if not folder.exists():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
