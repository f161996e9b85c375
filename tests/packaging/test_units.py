"""The files for systemd, launchd, containers and shells fit the command, and what reads them takes them."""

from __future__ import annotations

import configparser
import os
import plistlib
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer.main

from cis import errors
from cis.apps.cli.main import app
from tools.manual import EXIT_CODES
from tools.release import ROOT

PACKAGING = ROOT / "packaging"
UNITS = sorted((PACKAGING / "systemd").glob("*.service"))
DOCKERFILE = PACKAGING / "docker" / "Dockerfile"
EXPOSURE_MAX = 2.0


def needs(program: str) -> str:
    """Return where a program is; the test is skipped where it is not."""
    found = shutil.which(program) or shutil.which(program, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def service(path: Path) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # names keep their case
    parser.read_string(path.read_text(encoding="utf-8"))
    return parser["Service"]


def runs(words: list[str]) -> bool:
    """Whether these are the words of a command that exists."""
    command: object = typer.main.get_command(app)
    for word in words:
        command = getattr(command, "commands", {}).get(word)
    return command is not None


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_starts_a_command_that_exists_and_is_not_restarted_where_only_a_person_can_help(unit: Path) -> None:
    found = service(unit)
    program, *words = found["ExecStart"].split()
    assert program.endswith("/bin/cis")
    assert runs(words)
    final = {errors.UsageError.exit_code, errors.Denied.exit_code}
    assert {int(code) for code in found["RestartPreventExitStatus"].split()} == final


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_takes_the_unit(unit: Path, tmp_path: Path) -> None:
    analyze = needs("systemd-analyze")
    # Only programs that exist pass.
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (tmp_path / "cis.service").write_text(text, encoding="utf-8")
    scope = ["--user"] if "user" in unit.name else ["--system"]
    ended = subprocess.run(
        [analyze, "verify", "--man=no", *scope, str(tmp_path / "cis.service")],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_systems_unit_is_confined() -> None:
    unit = PACKAGING / "systemd" / "cis.service"
    found = service(unit)
    assert found["User"] == "cis"
    assert found["CapabilityBoundingSet"] == ""
    ended = subprocess.run(
        [needs("systemd-analyze"), "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if (level := re.search(r"exposure level for cis.service: ([\d.]+)", ended.stdout)) is None:
        pytest.skip("this systemd-analyze does not judge files")
    assert float(level[1]) <= EXPOSURE_MAX


def test_launchd_is_given_a_command_that_exists() -> None:
    plist = plistlib.loads((PACKAGING / "launchd" / "cis.plist").read_bytes())
    assert plist["KeepAlive"] == {"SuccessfulExit": False}
    shell, flag, line = plist["ProgramArguments"]
    assert (shell, flag) == ("/bin/sh", "-c")
    assert runs(re.findall(r'bin/cis" (\w+)', line))


def test_the_image_runs_as_nobody_and_copies_only_what_is_in_its_context() -> None:
    text = DOCKERFILE.read_text(encoding="utf-8")
    assert re.search(r"^USER 7677:7677$", text, re.MULTILINE)
    allowed = re.findall(r"^!(\S+)", DOCKERFILE.with_name("Dockerfile.dockerignore").read_text("utf-8"), re.MULTILINE)
    assert [name for name in allowed if not (ROOT / name).exists()] == []
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    built_from = {
        path.partition("/")[0] for path in [*wheel["packages"], *wheel["force-include"], *wheel["shared-data"]]
    }
    assert built_from <= set(allowed)
    for lock in re.findall(r"-r (\S+)", text):
        assert (ROOT / lock).is_file(), lock


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    ended = subprocess.run(
        [needs("hadolint"), str(DOCKERFILE)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "")


_ASKS = {
    "bash": 'source "$1"; COMP_WORDS=(cis mem); COMP_CWORD=1; _cis cis; echo "${COMPREPLY[@]}"',
    "fish": 'source $argv[1]; complete --do-complete "cis mem"',
    "zsh": "_cis_asked() { source $1 }; words=(cis mem); CURRENT=2; _arguments() { print -- $@ }; _cis_asked $1",
}
_FILES = {"bash": "cis.bash", "fish": "cis.fish", "zsh": "_cis"}


@pytest.mark.parametrize("shell", sorted(_ASKS))
def test_a_shell_completes_a_command(shell: str, tmp_path: Path) -> None:
    command = tmp_path / "cis"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT / "src"} exec {sys.executable} -m cis "$@"\n', encoding="utf-8")
    command.chmod(0o700)
    file = str(PACKAGING / "completions" / _FILES[shell])
    named = [] if shell == "fish" else [shell]
    ended = subprocess.run(
        [needs(shell), "-c", _ASKS[shell], *named, file],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert re.search(r"\bmemory\b", ended.stdout), ended


def test_the_manual_lists_the_exit_codes_there_are() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.CisError)]
    assert {kind.exit_code for kind in kinds} <= set(EXIT_CODES)


@pytest.mark.parametrize("page", sorted((PACKAGING / "man").iterdir()), ids=lambda path: path.name)
def test_no_line_of_a_manual_page_is_taken_for_a_macro_it_is_not(page: Path) -> None:
    macros = re.findall(r"^[.'](\w+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(macros) <= {"TH", "SH", "SS", "TP", "PP", "B", "BR"}
