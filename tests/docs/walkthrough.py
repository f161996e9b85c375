"""Runs the console blocks of a page as a reader would, each prompt a device of its own, and compares what is printed.

A prompt ``laptop$`` names a device; without one, commands go to the device that ``cis init --name`` made last. What a
page can only show as an example (codes, tickets, times, ids) is replaced by what the devices said themselves. What one
device wrote may take a moment to reach another, so a command that only reads is repeated until it shows what is shown.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from unittest import mock

from cis.apps.cli.main import run
from tests.e2e.conftest import CONDITION_S, ROOT, Home

_BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PROMPT = re.compile(r"^(?:(?P<device>\w*)\$ )?(?P<command>(?:cis|cat|mkdir|make) .*)$")
_READING = {
    "get",
    "list",
    "search",
    "history",
    "conflicts",
    "status",
    "peers",
    "log",
    "show",
    "stats",
    "model",
    "watch",
}
_UNTOLD = {"init", "up", "pair", "join", "invite", "watch", "mcp"}
"""What prints little but names, codes and places of its own."""
_AGREED = {"revoke", "join", "install"}
"""What asks first, on a terminal."""
_VARIES = re.compile(r"…|\d|^\(shortened\)")
_TICKET = re.compile(r"\bcis1[a-z2-7]{20,}\b")
_CODE = re.compile(r"\bcis pair (\d+-[a-z]+-[a-z]+)\b")


@dataclass(frozen=True)
class Step:
    """A command, the device it is typed on, and the lines shown below it."""

    device: str
    words: list[str]
    shown: list[str]


def steps_of(page: str) -> list[Step]:
    """Return the commands of a page, in order."""
    found: list[Step] = []
    for block in _BLOCK.findall(page):
        shown: list[str] | None = None
        for line in block.splitlines():
            if (prompt := _PROMPT.match(line)) and not (prompt["device"] is None and shown):
                words = shlex.split(prompt["command"], comments=True)
                shown = []
                found.append(Step(prompt["device"] or "", words, shown))
            elif shown is not None:
                shown.append(line)
    return found


def fits(shown: list[str], printed: str) -> bool:
    """Tell whether each line shown was printed, in order; words with digits or dots stand for any."""
    lines = iter(printed.splitlines())
    return all(any(_line_fits(line.split(), other.split()) for other in lines) for line in shown if line.strip() != "…")


def _line_fits(shown: list[str], printed: list[str]) -> bool:
    if len(shown) != len(printed):
        return any(word.endswith("…") for word in shown) and _line_fits(shown[:2], printed[:2])
    return all(_VARIES.search(mine) or mine == other for mine, other in zip(shown, printed, strict=True))


@dataclass
class Walk:
    """The devices of one page, in one folder."""

    folder: Path
    homes: dict[str, Home] = field(default_factory=dict)
    running: list[subprocess.Popen[str]] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)
    last: str = "laptop"

    def run(self, step: Step) -> None:
        """Do one step; an assertion says what differed."""
        if step.words[0] == "cat":
            path = self.folder / step.words[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(step.shown) + "\n", encoding="utf-8")
        elif step.words[0] == "cis":
            self._cis(step)

    def _cis(self, step: Step) -> None:
        words = step.words[1:]
        if words[0] == "init":
            self.last = words[words.index("--name") + 1]
        device = step.device or self.last
        refused = bool(step.shown) and step.shown[0].startswith("cis: ")
        if words == ["pair"] or words[:2] == ["memory", "watch"]:
            self._background(device, words)
            return
        if device not in self.homes and words[0] != "init":
            self._do(device, "init", "--name", device)
            self._do(device, "up", "--detach")
        if words[:2] == ["acl", "revoke"] and words[2] not in self.homes:
            self._join(words[2], device)
        deadline = time.monotonic() + CONDITION_S
        repeats = not _READING.isdisjoint(words)
        told = not _UNTOLD.isdisjoint(words)
        while True:
            code, printed = self._ended(device, [*self._filled(words)])
            if (code != 0) is refused and (told or fits(step.shown, printed)):
                break
            what = f"{device}$ cis {shlex.join(words)}\nprinted: {printed}\nshown: {step.shown}"
            assert repeats, what
            assert time.monotonic() < deadline, what
        if ticket := _TICKET.search(printed):
            self.said["ticket"] = ticket.group()

    def _filled(self, words: list[str]) -> Iterator[str]:
        """Yield the words with what the devices said in place of the page's examples."""
        for before, word in pairwise(["", *words]):
            if before == "pair":
                yield from (self.said["code"], "--at", self.said["at"])
            else:
                yield self.said["ticket"] if _TICKET.match(word) else re.sub(r"^~", str(self.folder), word)

        if not _AGREED.isdisjoint(words):
            yield "--yes"

    def _join(self, name: str, admin: str) -> None:
        """Make one more member, which the page speaks of."""
        ticket = _TICKET.search(self._do(admin, "invite", "--name", name))
        assert ticket is not None
        self._do(name, "init", "--name", name)
        self._do(name, "join", ticket.group(), "--yes")

    def _do(self, device: str, *words: str) -> str:
        """Do what the page takes for granted."""
        code, printed = self._ended(device, [*words])
        assert code == 0, printed
        return printed

    def _home(self, device: str) -> Home:
        return self.homes.setdefault(device, Home(self.folder / f"home-{device}"))

    def _environment(self, device: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CIS_")}
        return {
            **kept,
            "PYTHONPATH": str(ROOT / "src"),
            "HOME": str(self.folder),
            "CIS_HOME": str(self._home(device).path),
            "CIS_P2P__DISCOVERY__ENABLE_MDNS": "false",
            "CIS_P2P__LISTEN_ADDRESS": "127.0.0.1",
            "CIS_P2P__LISTEN_PORT": "0",
            "COLUMNS": "120",
        }

    def _ended(self, device: str, words: list[str]) -> tuple[int, str]:
        """Run a command in this process, which is many times as quick as in one of its own."""
        printed = io.StringIO()
        with (
            mock.patch.dict(os.environ, self._environment(device), clear=True),
            mock.patch.object(sys, "stdin", io.StringIO()),
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
        ):
            return run(words), printed.getvalue()

    def _background(self, device: str, words: list[str]) -> None:
        """Start what runs until somebody ends it, and wait for its first words."""
        command = [sys.executable, "-u", "-m", "cis", *words]
        started = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self._environment(device),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.running.append(started)
        assert started.stdout is not None
        for line in started.stdout:
            if code := _CODE.search(line):
                self.said |= {"code": code[1], "at": str(self._home(device).status().listen)}
            if code or "watching" in line:
                return
        raise AssertionError(f"{device}$ cis {shlex.join(words)} ended at once")

    def end(self) -> None:
        """End what runs."""
        for home in self.homes.values():
            home.kill()
        for started in self.running:
            started.kill()
            with contextlib.suppress(ValueError):
                started.communicate()
