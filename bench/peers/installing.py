"""What a contestant needs to start: npm packages in a scratch folder, or a program that is there already.

Packages are installed by name at the exact versions of ``npm/*/package.json``, without running any package's own
scripts; where the registry or the machine cannot give them, the reason becomes the contestant's row.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from bench.peers.catalogue import Contestant
from cis.errors import Unavailable

NPM = Path(__file__).resolve().parent / "npm"
NODE_MIN = 20
INSTALL_S = 900.0
_INSTALL = ("npm", "install", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund")
_STAMP = ".installed"


def command_of(contestant: Contestant, scratch: Path) -> list[str]:
    """Return the command that starts it, installing what that needs; `Unavailable` says why it cannot take part."""
    first, *arguments = contestant.start
    if contestant.program and shutil.which(contestant.program) is None:
        raise Unavailable(f"{contestant.program} is not installed: apt-get install {contestant.program}")
    if not contestant.npm:
        return [sys.executable, "-m", f"bench.peers.{first}", *arguments]
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise Unavailable("Node.js and npm are not installed")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()  # noqa: S607 - as PATH has it
    if int(version.lstrip("v").partition(".")[0]) < NODE_MIN:
        raise Unavailable(f"it needs Node.js {NODE_MIN}, and this is {version}")
    return ["node", str(installed(contestant.npm, scratch) / Path(first).name), *arguments]


def installed(folder: str, scratch: Path) -> Path:
    """Lay the scripts and packages of a folder beneath ``npm/`` into the scratch folder; return where."""
    source, place = NPM / folder, scratch / folder
    place.mkdir(parents=True, exist_ok=True)
    for file in (NPM / "lines.mjs", *source.iterdir()):
        shutil.copy(file, place)
    wanted = hashlib.sha256((source / "package.json").read_bytes()).hexdigest()
    stamp = place / _STAMP
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(place / "node_modules", ignore_errors=True)
        _install(place)
        stamp.write_text(wanted)
    return place


def _install(place: Path) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - npm, on a package.json of ours
            _INSTALL, cwd=place, capture_output=True, text=True, timeout=INSTALL_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"npm had not installed it after {INSTALL_S:g} s") from None
    if done.returncode:
        raise Unavailable(f"npm could not install it: {_reason(done.stderr)}")


def _reason(told: str) -> str:
    """Return npm's error in one line, without addresses and paths."""
    lines = [line.removeprefix("npm error ").strip() for line in told.splitlines() if line.startswith("npm error ")]
    return (
        "; ".join(line for line in lines if "://" not in line and "/" not in line.split(" ")[-1])[:200] or "no reason"
    )
