"""Syncthing as a contestant: an entry is a file; ``python -m bench.peers.syncthing_peer``.

It is told where its peer is and looks for no other: discovery, relays, NAT traversal, reports and upgrades are off, so
it speaks on loopback alone. A write is a file synced to disk, then a request to scan it, as its REST documentation has
programs do; left to watch the folder, it would wait ten seconds for more.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import json
import os
import socket
import subprocess
import time
import urllib.parse
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from cis.bench.figures import BenchFailed
from cis.bench.roles import serve

FOLDER = "entries"
PROGRAM = "syncthing"
READY_S = 60.0
HTTP_S = 600.0
STATUS_S = 0.05
LOOK_S = 0.001
_OFF = ("globalAnnounceEnabled", "localAnnounceEnabled", "relaysEnabled", "natEnabled", "crashReportingEnabled")
_OPTIONS = {"startBrowser": "false", "urAccepted": "-1", "autoUpgradeIntervalH": "0", "setLowPriority": "false"}


class SyncthingPeer:
    """Requests: see `bench.peers.contest`."""

    def __init__(self, _: asyncio.TaskGroup) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._data = Path()
        self._side = self._device = self._key = self._peer = ""
        self._rest = 0

    async def close(self) -> None:
        if self._process is not None:
            self._process.terminate()
            await asyncio.to_thread(self._process.wait)

    async def on_open(self, folder: str, side: str) -> dict[str, Any]:
        """Configure and start it; answers when its REST interface does."""
        home, self._data, self._side = Path(folder) / "home", Path(folder) / "data", side
        self._data.mkdir()
        port, self._rest = _free_port(), _free_port()
        await asyncio.to_thread(_run, "generate", f"--home={home}", "--no-default-folder", "--skip-port-probing")
        self._device, self._key = _configure(home / "config.xml", port, self._rest)
        await asyncio.to_thread(self._start, home)
        version = (await self._ask("GET", "/rest/system/version"))["version"]
        return {
            "card": {"device": self._device, "address": f"tcp://127.0.0.1:{port}"},
            "versions": {"syncthing": version},
        }

    async def on_meet(self, card: dict[str, str]) -> None:
        """Share the folder with the peer; the target knows where that is, and waits with connecting."""
        self._peer, target = card["device"], self._side == "target"
        addresses = [card["address"]] if target else ["dynamic"]
        device = {"deviceID": self._peer, "addresses": addresses, "paused": target}
        shared = [{"deviceID": self._device}, {"deviceID": self._peer}]
        await self._ask("PUT", f"/rest/config/devices/{self._peer}", device)
        await self._ask(
            "PUT", f"/rest/config/folders/{FOLDER}", {"id": FOLDER, "path": str(self._data), "devices": shared}
        )

    async def on_fill(self, file: str) -> dict[str, Any]:
        """Write a file an entry, and have all scanned."""
        began = time.monotonic()
        await asyncio.to_thread(self._write_all, Path(file))
        await self._scan()
        return {"elapsed_s": time.monotonic() - began, "mark": {}}

    async def on_pull(self, mark: dict[str, Any], entries: int, limit_s: float) -> dict[str, Any]:  # noqa: ARG002 - as all
        """Let it connect, and ask it how many files it has until it has all."""
        began = time.monotonic()
        await self._ask("PATCH", f"/rest/config/devices/{self._peer}", {"paused": False})
        while True:
            status = await self._ask("GET", f"/rest/db/status?folder={FOLDER}")
            elapsed_s, arrived = time.monotonic() - began, int(status["localFiles"])
            if arrived >= entries or elapsed_s > limit_s:
                return {"elapsed_s": elapsed_s, "entries": arrived}
            await asyncio.sleep(STATUS_S)

    async def on_digest(self) -> dict[str, Any]:
        """Return how many files there are, and the hash of all."""
        return await asyncio.to_thread(self._digest)

    async def on_put(self, key: str, value: str) -> dict[str, Any]:
        """Write a file, durably, and have it scanned."""
        began_at_s = time.monotonic()
        await asyncio.to_thread(self._write, key, value, durable=True)
        await self._scan(key)
        return {"began_at_s": began_at_s, "written_at_s": time.monotonic()}

    async def on_expect(self, key: str, value: str) -> dict[str, Any]:
        """Return when the file holds that value here, looking every millisecond."""
        path = self._path(key)
        while True:
            with contextlib.suppress(OSError):
                if path.read_text() == value:
                    return {"seen_at_s": time.monotonic()}
            await asyncio.sleep(LOOK_S)

    def _start(self, home: Path) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - the contestant, on its own configuration
            [PROGRAM, "serve", f"--home={home}", "--no-browser", "--no-restart", "--no-upgrade"], stdout=2
        )
        deadline = time.monotonic() + READY_S
        while True:
            try:
                self._request("GET", "/rest/system/ping", None)
            except OSError:
                if time.monotonic() > deadline:
                    raise BenchFailed(f"syncthing did not answer within {READY_S:g} s") from None
                time.sleep(STATUS_S)
            else:
                return

    async def _scan(self, key: str = "") -> None:
        part = f"&sub={urllib.parse.quote(self._path(key).name)}" if key else ""
        await self._ask("POST", f"/rest/db/scan?folder={FOLDER}{part}")

    async def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        return await asyncio.to_thread(self._request, method, path, body)

    def _request(self, method: str, path: str, body: object) -> dict[str, Any]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._rest, timeout=HTTP_S)) as connection:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"X-API-Key": self._key})
            response = connection.getresponse()
            told = response.read()
        if response.status != http.HTTPStatus.OK:
            raise BenchFailed(f"syncthing answered {method} {path} with {response.status}: {told.decode().strip()}")
        answer: dict[str, Any] = json.loads(told) if told.startswith(b"{") else {}
        return answer

    def _write_all(self, file: Path) -> None:
        with file.open() as lines:
            for line in lines:
                self._write(*json.loads(line))

    def _write(self, key: str, value: str, *, durable: bool = False) -> None:
        with self._path(key).open("w") as file:
            file.write(value)
            if durable:
                file.flush()
                os.fsync(file.fileno())

    def _path(self, key: str) -> Path:
        """Return the file of an entry; all in one folder, for a folder of its own would cost as much again."""
        return self._data / urllib.parse.quote(key, safe="")

    def _digest(self) -> dict[str, Any]:
        files = (path for path in self._data.iterdir() if not path.name.startswith("."))
        digest, found = hashlib.sha256(), [(urllib.parse.unquote(path.name), path) for path in files]
        for key, path in sorted(found):
            digest.update(f"{key}\0{path.read_text()}\n".encode())
        return {"entries": len(found), "sha256": digest.hexdigest()}


def _configure(path: Path, port: int, rest: int) -> tuple[str, str]:
    """Bind it to loopback, turn off all that would speak beyond; returns its id and its REST interface's key."""
    tree = ET.parse(path)  # noqa: S314 - written by Syncthing, a moment ago
    root = tree.getroot()
    wanted = {"listenAddress": f"tcp://127.0.0.1:{port}", **dict.fromkeys(_OFF, "false"), **_OPTIONS}
    for name, value in wanted.items():
        _element(root, f"options/{name}").text = value
    _element(root, "gui/address").text = f"127.0.0.1:{rest}"
    tree.write(path)
    return _element(root, "device").attrib["id"], _element(root, "gui/apikey").text or ""


def _element(root: ET.Element, path: str) -> ET.Element:
    found = root.find(path)
    if found is None:
        raise BenchFailed(f"this Syncthing's configuration has no {path}")
    return found


def _run(*arguments: str) -> None:
    subprocess.run([PROGRAM, *arguments], stdout=2, check=True, timeout=READY_S)  # noqa: S603 - as above


def _free_port() -> int:
    with contextlib.closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


if __name__ == "__main__":
    serve(SyncthingPeer)
