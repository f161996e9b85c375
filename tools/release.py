"""What is handed out of a version: wheel and sdist, their bill of materials and their sums, in ``dist/``.

::

    make release                      # of a clean tree
    make release ARGS=--dirty         # of the tree as it is, to try it

Everything is built twice and must come out the same (https://reproducible-builds.org/specs/source-date-epoch/). The
wheel is installed into an environment of its own, beside exactly what ``requirements/lock.txt`` names, and must run
there; the bill of materials (CycloneDX) is that environment's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

from cis import __version__

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
STEP_S = 900.0
_LITTER = re.compile(r"(^|/)(tests?|__pycache__|\.[a-z][\w.]*|conftest\.py)(/|$)|\.(pyc|pyo|db|log|toml~|orig|rej)$")
_NEEDED = ("/licenses/LICENSE", "/entry_points.txt", "cis/py.typed", "/man1/cis.1", "/bash-completion/completions/cis")


class Unfit(Exception):
    """What was built is not to be handed out."""


def main(arguments: list[str]) -> int:
    """Build and check; returns 1, saying why, where something is unfit."""
    parser = argparse.ArgumentParser(prog="make release", description=__doc__)
    parser.add_argument("--dirty", action="store_true", help="build a tree that has changes too")
    try:
        made = release(dirty=parser.parse_args(arguments).dirty)
    except (Unfit, subprocess.SubprocessError) as error:
        print(f"no release: {error}", file=sys.stderr)
        return 1
    print(*(path.relative_to(ROOT) for path in made), sep="\n")
    return 0


def release(*, dirty: bool) -> list[Path]:
    """Fill ``dist/``; returns what is in it."""
    if not dirty and (changed := _git("status", "--porcelain")):
        raise Unfit(f"the tree has changes that no commit has:\n{changed}")
    os.environ.setdefault("SOURCE_DATE_EPOCH", _git("log", "-1", "--format=%ct"))
    shutil.rmtree(DIST, ignore_errors=True)
    built = build(DIST)
    with tempfile.TemporaryDirectory() as folder:
        if differing := [path.name for path in build(Path(folder)) if _sum(path) != _sum(DIST / path.name)]:
            raise Unfit(f"built twice, these differ: {', '.join(differing)}")
    for path in built:
        check_contents(path)
    _run("-m", "twine", "check", "--strict", *map(str, built))
    _run_tool("hadolint", "packaging/docker/Dockerfile")
    with tempfile.TemporaryDirectory() as folder:
        python = install(next(path for path in built if path.suffix == ".whl"), Path(folder))
        try_out(python, Path(folder) / "home")
        built.append(bill_of_materials(python))
    sums = DIST / "SHA256SUMS"
    sums.write_text("".join(f"{_sum(path)}  {path.name}\n" for path in sorted(built)), encoding="utf-8")
    return [*built, sums]


def build(folder: Path) -> list[Path]:
    """Build the sdist, and the wheel; returns their paths."""
    _run("-m", "hatchling", "build", "-d", str(folder))
    return sorted(folder.glob("cis_node-*"))


def names_in(path: Path) -> list[str]:
    """Return the names of the files in a wheel or sdist."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return wheel.namelist()
    with tarfile.open(path) as sdist:
        return [name.partition("/")[2] for name in sdist.getnames()]


def check_contents(path: Path) -> None:
    """Raise `Unfit` where something is in it that does not belong there, or lacks."""
    names = names_in(path)
    if path.suffix == ".whl":
        if litter := [name for name in names if _LITTER.search(name)]:
            raise Unfit(f"{path.name} has what nobody runs: {', '.join(litter[:5])}")
        if missing := [end for end in _NEEDED if not any(name.endswith(end) for name in names)]:
            raise Unfit(f"{path.name} lacks {', '.join(missing)}")
    elif litter := [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".db"))]:
        raise Unfit(f"{path.name} has what no source is: {', '.join(litter[:5])}")


def install(wheel: Path, folder: Path) -> Path:
    """Install a wheel into a new environment, with what the lock names and nothing else; returns its interpreter."""
    venv.create(folder / "venv")
    python = folder / "venv" / "bin" / "python"
    pip = ["-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    _run(*pip, "install", "-q", "--require-hashes", "-r", str(ROOT / "requirements" / "lock.txt"))
    _run(*pip, "install", "-q", "--no-deps", "--no-index", str(wheel))
    _run(*pip, "check")
    return python


def try_out(python: Path, home: Path) -> None:
    """Use what was installed as somebody would who just installed it."""
    cis = [str(python.with_name("cis")), "--home", str(home)]
    _call([*cis, "init", "--name", "release", "--no-public-stun", "--no-public-dht"])
    _call([*cis, "memory", "set", "editor", "dark mode"])
    if (told := _call([*cis, "memory", "get", "editor"]).strip()) != "dark mode":
        raise Unfit(f"the installed cis gave back {told!r}")
    _call([*cis, "demo"])


def bill_of_materials(python: Path) -> Path:
    """Write what the release consists of and rests on, as CycloneDX; returns the path."""
    path = DIST / f"cis_node-{__version__}.cdx.json"
    options = ["--output-reproducible", "--spec-version", "1.6", "--output-format", "JSON", "--output-file", str(path)]
    _run("-m", "cyclonedx_py", "environment", *options, "--pyproject", str(ROOT / "pyproject.toml"), str(python))
    bill = json.loads(path.read_text(encoding="utf-8"))
    # It reads pyproject.toml, where the version does not stand.
    bill["metadata"]["component"] |= {"version": __version__, "purl": f"pkg:pypi/cis-node@{__version__}"}
    path.write_text(json.dumps(bill, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    listed = {(re.sub("[._]", "-", part["name"].lower()), part["version"]) for part in bill["components"]}
    locked = re.findall(r"^([\w-]+)==(\S+) \\$", (ROOT / "requirements" / "lock.txt").read_text("utf-8"), re.MULTILINE)
    if missing := [name for name, version in locked if (name, version) not in listed]:
        raise Unfit(f"the bill of materials lacks {', '.join(missing)}")
    return path


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _git(*words: str) -> str:
    return _call(["git", *words]).strip()


def _run(*words: str) -> str:
    return _call([sys.executable, *words])


def _run_tool(name: str, *words: str) -> str:
    """Run a program that lies beside this interpreter."""
    return _call([str(Path(sys.executable).with_name(name)), *words])


def _call(command: list[str]) -> str:
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=STEP_S, check=False)  # noqa: S603 - our own words, no shell
    if ended.returncode:
        raise Unfit(f"{' '.join(command)}:\n{ended.stdout}{ended.stderr}")
    return ended.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
