"""The audit by machine: everything about security that can be checked without a person, in one table.

::

    python -m tools.audit                    # all of it; exit 1 where one step fails
    python -m tools.audit rules secrets      # some of it

A step that could not look fails and says so: not having looked is not a pass.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools.audit_rules import EXCEPTIONS, RULES, all_findings
from tools.audit_secrets import unknown_leaks

ROOT = Path(__file__).resolve().parent.parent
STEP_S = 300
LOCKS = ("requirements/dev.txt", "requirements/build.txt")
CONTROL = "urllib3==1.24.1"
"""A release with known vulnerabilities: whoever finds none in it has no data."""
_ADVISORY = re.compile(r"((?:CVE|PYSEC)-(\d{4})-(\d+))")
BANDIT_SKIPPED = {
    "B101": "assertions state invariants; on input they are found by our own rule",
    "B311": "jitter and the choice of neighbours are to be replayed; for secrets, our own rule",
    "B404": "importing subprocess is no use of it",
    "B603": "no shell is opened, and what is run is this very program, or git",
    "B607": "git is found on the PATH of whoever runs the tools",
    "B608": "statements are composed of constants, which our own rule checks as it follows names",
}


@dataclass(frozen=True)
class Outcome:
    """How a step ended, and what it has to say."""

    passed: bool
    summary: str
    details: tuple[str, ...] = ()


def bandit() -> Outcome:
    """Bandit over src and tools, at every severity; what is silenced is listed here or beside the line."""
    ended = _run("bandit", "-q", "-r", "src", "tools", "-f", "json", "-s", ",".join(BANDIT_SKIPPED))
    try:
        report = json.loads(ended.stdout)
    except ValueError:
        return Outcome(passed=False, summary="did not run", details=_tail(ended))
    found = [
        f"{one['filename']}:{one['line_number']}: {one['test_id']} {one['issue_text'][:100]}"
        for one in report["results"]
        if not _silenced(one["filename"], one["line_number"], one["test_id"])
    ]
    broken = [f"{one['filename']}: {one['reason']}" for one in report["errors"]]
    lines = report["metrics"]["_totals"]["loc"]
    return Outcome(not found and not broken and lines > 0, f"{lines} lines, {len(found)} found", (*found, *broken))


def _silenced(name: str, line: int, test: str) -> bool:
    """Whether the line gives ruff a reason under the same number: S104 is B104."""
    text = (ROOT / name).read_text(encoding="utf-8").splitlines()[line - 1]
    return f"noqa: S{test[1:]} - " in text


def vulnerabilities() -> Outcome:
    """pip-audit over the locks, having first proven on a release known to be vulnerable that there is data."""
    with tempfile.TemporaryDirectory() as folder:
        control = Path(folder) / "control.txt"
        control.write_text(CONTROL + "\n", encoding="utf-8")
        proven, why = _audited(control, hashed=False)
    advisories = [name for one in proven for bug in one["vulns"] for name in (bug["id"], *bug["aliases"])]
    if not advisories:
        return Outcome(
            passed=False, summary=f"no data: nothing is known against {CONTROL}, which is vulnerable", details=why
        )
    locks = {lock: _audited(ROOT / lock, hashed=True) for lock in LOCKS}
    unread = [f"{lock}: {'; '.join(said) or 'nothing was said'}" for lock, (told, said) in locks.items() if not told]
    listed = [one for packages, _ in locks.values() for one in packages]
    skipped = [f"{one['name']}: {one['skip_reason']}" for one in listed if "skip_reason" in one]
    found = [f"{one['name']} {one['version']}: {bug['id']}" for one in listed for bug in one["vulns"]]
    asked = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    summary = (
        f"{len(listed)} packages, {len(found)} found; data as served on {asked}, newest at least {_newest(advisories)}"
    )
    return Outcome(not (unread or found or skipped), summary, (*found, *skipped, *unread))


def rules() -> Outcome:
    """Our own rules over the syntax of src and tools."""
    found = [one for one in all_findings(ROOT) if one.key not in EXCEPTIONS]
    summary = f"{len(RULES)} rules, {len(found)} broken, {len(EXCEPTIONS)} excepted with reasons"
    return Outcome(not found, summary, tuple(map(str, found)))


def secrets() -> Outcome:
    """Tracked files and all of history."""
    found = unknown_leaks(ROOT)
    return Outcome(not found, f"files and history, {len(found)} found", tuple(map(str, found)))


def doctor() -> Outcome:
    """``cis doctor --security`` in a home as `cis init` makes it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CIS_")}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        environment = kept | {"CIS_HOME": str(home)}
        made = _run("cis", "init", "--name", "audited", environment=environment)
        if made.returncode:
            return Outcome(passed=False, summary="no home could be made", details=_tail(made))
        ended = _run("cis", "doctor", "--security", "--json", environment=environment)
    try:
        rows = json.loads(ended.stdout)
    except ValueError:
        return Outcome(passed=False, summary="did not run", details=_tail(ended))
    bad = [f"{row['check']}: {row['found']}" for row in rows if row["status"] == "bad"]
    warned = [row["check"] for row in rows if row["status"] == "warn"]
    summary = f"{len(rows)} checks, {len(bad)} bad; worth a thought on a fresh home: {', '.join(warned) or 'none'}"
    return Outcome(bool(rows) and not bad and ended.returncode == 0, summary, tuple(bad))


STEPS: dict[str, Callable[[], Outcome]] = {
    "rules": rules,
    "bandit": bandit,
    "secrets": secrets,
    "doctor": doctor,
    "pip-audit": vulnerabilities,
}


def _audited(path: Path, *, hashed: bool) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Return what pip-audit says of each package, and its words where it could not look."""
    words = ["--disable-pip", "-f", "json", "--progress-spinner", "off", "-r", str(path)]
    ended = _run("pip_audit", *words, "--require-hashes" if hashed else "--no-deps")
    try:
        found: list[dict[str, Any]] = json.loads(ended.stdout)["dependencies"]
    except (ValueError, KeyError):
        return [], _tail(ended)
    for one in found:
        one.setdefault("vulns", [])
    return found, tuple(str(one["skip_reason"]) for one in found if "skip_reason" in one)


def _newest(advisories: Iterable[str]) -> str:
    """Return the advisory of the latest year and number: how fresh the data is at least."""
    numbered = [found.groups() for one in advisories if (found := _ADVISORY.fullmatch(one))]
    return max(numbered, key=lambda found: (int(found[1]), int(found[2])))[0] if numbered else "none with a date"


def _run(module: str, *words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *words]
    try:
        return subprocess.run(  # noqa: S603 - what this environment has installed
            command, capture_output=True, text=True, cwd=ROOT, timeout=STEP_S, check=False, env=environment
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"{module} did not end within {STEP_S} s")


def _tail(ended: subprocess.CompletedProcess[str]) -> tuple[str, ...]:
    return tuple((ended.stderr or ended.stdout).strip().splitlines()[-5:])


def main(names: list[str]) -> int:
    """Run the steps that are named, or all; print one line for each, and the details of those that failed."""
    unknown = [name for name in names if name not in STEPS]
    if unknown:
        print(f"no step {', '.join(unknown)}: there are {', '.join(STEPS)}", file=sys.stderr)
        return 2
    failed = 0
    for name in names or STEPS:
        began = time.monotonic()
        outcome = STEPS[name]()
        failed += not outcome.passed
        print(f"{'ok  ' if outcome.passed else 'FAIL'} {name:<10} {outcome.summary} ({time.monotonic() - began:.0f} s)")
        for detail in () if outcome.passed else outcome.details:
            print(f"       {detail}")
        sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
