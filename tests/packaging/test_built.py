"""What `make release` hands out: nothing too much, nothing too little, the same bytes each time, and it runs."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tools.release import ROOT, Unfit, check_contents, names_in


def build(tree: Path, folder: Path) -> dict[str, Path]:
    """Build both from a tree; returns them by their kind."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=tree, env=environment, check=True, capture_output=True, timeout=100)
    return {path.suffix: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build(ROOT, tmp_path_factory.mktemp("dist"))


def test_the_wheel_has_what_runs_and_the_sdist_what_builds_it(built: dict[str, Path]) -> None:
    for path in built.values():
        check_contents(path)
    wheel, sdist = names_in(built[".whl"]), names_in(built[".gz"])
    kinds = {".py", ".html", ".css", ".js", ".svg"}
    files = [path for path in (ROOT / "src" / "cis").rglob("*") if path.suffix in kinds]
    sources = {str(path.relative_to(ROOT / "src")) for path in files}
    assert sources <= set(wheel)
    assert {f"src/{name}" for name in sources} <= set(sdist)
    assert {"LICENSE", "README.md", "CHANGELOG.md", "Makefile", "requirements/lock.txt", "tests/test_tidy.py"} <= set(
        sdist
    )


@pytest.mark.parametrize(
    "name",
    ["cis/tests/test_x.py", "cis/__pycache__/a.cpython-311.pyc", "cis/.env", "tests/conftest.py", "cis/node.log"],
)
def test_a_wheel_with_litter_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "cis_node-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(name, "")
    with pytest.raises(Unfit, match="nobody runs"):
        check_contents(path)


def test_a_wheel_without_its_licence_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cis_node-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("cis/__init__.py", "")
    with pytest.raises(Unfit, match="licenses/LICENSE"):
        check_contents(path)


def test_a_wheel_built_from_the_sdist_is_the_same_to_the_byte(built: dict[str, Path], tmp_path: Path) -> None:
    with tarfile.open(built[".gz"]) as sdist:
        sdist.extractall(tmp_path, filter="data")
    (tree,) = tmp_path.iterdir()
    again = build(tree, tmp_path / "again")
    assert again[".whl"].read_bytes() == built[".whl"].read_bytes()
    assert again[".gz"].read_bytes() == built[".gz"].read_bytes()


def test_what_the_wheel_holds_is_enough_to_run(built: dict[str, Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(built[".whl"]) as wheel:
        wheel.extractall(tmp_path / "lib")
    script = """
import sys
from cis.apps.cli.main import run
import cis.api.daemon, cis.apps.cli.demo
home = ["--home", "home"]
assert run([*home, "init", "--name", "solo", "--no-public-stun", "--no-public-dht"]) == 0
assert run([*home, "memory", "set", "editor", "dark mode"]) == 0
assert run([*home, "memory", "get", "editor"]) == 0
print(cis.__file__)
"""
    told = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "lib"), "CIS_MEMORY__EMBEDDING__PROVIDER": "off"},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.splitlines()
    assert told[-2:] == ["dark mode", str(tmp_path / "lib" / "cis" / "__init__.py")]
