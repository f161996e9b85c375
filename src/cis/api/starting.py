"""Starting a node here or in the background, and stopping it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cis.api.control.client import connect_daemon, connect_running, is_locked
from cis.api.ending import NO_TERMS, Ended, Terms, require_possible, span
from cis.api.loading import loading
from cis.api.peers.bootstrap_telling import Telling
from cis.api.peers.network_schema import GetStatus, NodeStatus, StopNode
from cis.errors import CisError, TimedOut, Unavailable, UsageError
from cis.node.home.folder import Home
from cis.node.home.passphrases import FILE_VARIABLE, VARIABLE

START_S = 30.0
STOP_S = 30.0
_POLL_S = 0.02
_COMPLAINT = re.compile(r"^cis: (.*)$", re.MULTILINE)
_ENDED = re.compile(r"^ended: (.*)$\n\Z", re.MULTILINE)
_TAIL_BYTES = 64 * 1024


@dataclass(frozen=True)
class Started:
    """A node in the background."""

    status: NodeStatus
    log: Path


def flags_of(listen: str | None) -> dict[str, object]:
    """Return the settings that ``--listen`` stands for; ``HOST:PORT``, ``[V6]:PORT``, ``:PORT`` or ``HOST``."""
    if listen is None:
        return {}
    found = re.fullmatch(r"\[(?P<six>[^\]]+)\](?::(?P<port6>\d+))?|(?P<host>[^:]*)(?::(?P<port>\d+))?", listen)
    if found is None:
        raise UsageError(f"{listen!r} is no place to listen: write HOST:PORT, or [ADDRESS]:PORT for IPv6")
    host, port = found["six"] or found["host"], found["port6"] or found["port"]
    return {"p2p.listen_address": host or None, "p2p.listen_port": int(port) if port else None}


def run_here(
    home: Path,
    flags: Mapping[str, object],
    on_ready: Callable[[NodeStatus], None],
    terms: Terms = NO_TERMS,
    telling: Telling | None = None,
) -> Ended:
    """Run the node in this process until it is stopped, or what the terms say; returns which."""
    with loading():
        from cis.api.configuration.settings import load  # noqa: PLC0415 - as above
        from cis.api.daemon import run_daemon  # noqa: PLC0415 - the whole network is loaded only to run it
        from cis.api.telemetry.logs import set_up_logging  # noqa: PLC0415 - as above

    settings = load(home, flags)
    set_up_logging(settings.log.level, settings.log.format)
    return run_daemon(Home(home), settings, on_ready, terms, telling, flags)


def start_detached(
    home: Path, flags: Mapping[str, object], terms: Terms = NO_TERMS, words: Sequence[str] = ()
) -> Started | Ended:
    """Start the node in the background and return once it answers, or the terms have ended it; raises as it did.

    ``words`` are further options of `cis up`.
    """
    from cis.api.configuration.settings import load  # noqa: PLC0415 - slow to load
    from cis.node.home.unlocking import passphrase_to_hand_on  # noqa: PLC0415 - as above

    if connect_daemon(home) is not None:
        raise CisError("the node is up already: `cis status` shows it, `cis down` stops it")
    settings = load(home, flags)
    require_possible(terms, networking=settings.p2p.enabled)
    log = Home(home).log
    if not Home(home).exists:
        raise UsageError(f"there is no node in {home} yet: run `cis init` first")
    passphrase = passphrase_to_hand_on(Home(home))
    command = [sys.executable, "-m", "cis", "--home", str(home), "up", *_listen(flags), *_words(terms), *words]
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(handle, "ab") as file:
        offset = file.tell()
        process = subprocess.Popen(  # noqa: S603 - this very program
            command,
            stdin=subprocess.DEVNULL if passphrase is None else subprocess.PIPE,
            stdout=file,
            stderr=file,
            start_new_session=True,
            cwd="/",
            env=os.environ if passphrase is None else _without_passphrase(),
        )
    if process.stdin is not None and passphrase is not None:
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(f"{passphrase}\n".encode())
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return _ended(process.returncode, log, offset)
        if (node := connect_daemon(home)) is not None:
            with node, contextlib.suppress(Unavailable):  # it may end before it answers
                return Started(node.call(GetStatus()), log)
        time.sleep(_POLL_S)
    process.terminate()
    raise TimedOut(f"the node did not answer within {START_S:g} s: its log is {log}")


def stop(home: Path) -> int:
    """Stop the running node and return its process id once its store is closed."""
    with connect_running(home) as node:
        pid = node.call(StopNode()).pid
    deadline = time.monotonic() + STOP_S
    while time.monotonic() < deadline:
        if not is_locked(home):
            return pid
        time.sleep(_POLL_S)
    raise TimedOut(f"process {pid} is still closing after {STOP_S:g} s: see {Home(home).log}, or  kill {pid}")


def _ended(code: int, log: Path, offset: int) -> Ended:
    """Return how a background node ended by itself, or raise what it failed with: as it wrote it to its log."""
    with log.open("rb") as file:
        file.seek(offset)
        said = file.read(_TAIL_BYTES).decode(errors="replace")
    if (found := _ENDED.search(said)) is not None:
        return Ended(code, found[1])
    complaints = _COMPLAINT.findall(said)
    if not complaints and not shutil.disk_usage(log.parent).free:
        complaints = [f"the disk that holds {log.parent} is full, and so the node ended at once: free some space"]
    error = CisError(complaints[-1] if complaints else f"the node ended at once (exit code {code}): its log is {log}")
    error.exit_code = code if code > 0 else 1
    raise error


def _listen(flags: Mapping[str, object]) -> list[str]:
    """Return the option of `cis up` that says the same as the flags."""
    host, port = flags.get("p2p.listen_address"), flags.get("p2p.listen_port")
    if host is None and port is None:
        return []
    return ["--listen", ("" if host is None else _bracketed(str(host))) + ("" if port is None else f":{port}")]


def _words(terms: Terms) -> list[str]:
    """Return the options of `cis up` that say the same as the terms."""
    words = [word for one in terms.until for word in ("--until", str(one))]
    if terms.max_runtime_s is not None:
        words += ["--max-runtime", span(terms.max_runtime_s)]
    if terms.max_failures is not None:
        words += ["--max-failures", str(terms.max_failures)]
    return words


def _without_passphrase() -> dict[str, str]:
    """The environment of a node that is told its passphrase on standard input, where no other process reads it."""
    kept = {name: value for name, value in os.environ.items() if name != VARIABLE}
    return kept | {FILE_VARIABLE: "-"}


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
