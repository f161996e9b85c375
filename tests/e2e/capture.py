"""Packets of loopback, captured and read by tshark."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree.ElementTree import Element, iterparse

START_S = 20.0
READ_S = 60


def why_not() -> str | None:
    """Why packets cannot be captured here, or None when they can."""
    if shutil.which("tshark") is None:
        return "tshark is not installed: apt-get install tshark (`make test` does so where it may)"
    tried = subprocess.run(
        ["tshark", "-q", "-i", "lo", "-a", "duration:0", "-w", os.devnull],
        capture_output=True,
        timeout=START_S,
        check=False,
    )
    return None if tried.returncode == 0 else f"tshark may not capture here: {tried.stderr.decode()[-200:].strip()}"


@contextmanager
def captured(file: Path, only: str) -> Iterator[None]:
    """Capture what the filter lets through on loopback into a file, for as long as the context lasts."""
    command = ["tshark", "-q", "-i", "lo", "-f", only, "-w", str(file)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if b"Capture started" in line or b"Capturing on" in line:
                break
        for line in process.stderr:  # the file appears once packets are taken
            if b"File:" in line:
                break
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=START_S)


def payloads(file: Path) -> list[bytes]:
    """Return the payload of each UDP datagram captured, as anybody sees it."""
    out = _read(file, "-T", "fields", "-e", "udp.payload")
    return [bytes.fromhex(line.decode()) for line in out.split()]


def streams(file: Path, port: int, keys: Path | None) -> dict[tuple[str, int, int], bytes]:
    """Return what QUIC streams carried, by (sender's port, connection, stream), as far as the keys decrypt it."""
    given = ["-o", f"tls.keylog_file:{keys}"] if keys is not None else []
    pdml = file.with_suffix(".pdml")
    pdml.write_bytes(_read(file, *given, "-d", f"udp.port=={port},quic", "-Y", "quic", "-T", "pdml"))
    pieces: defaultdict[tuple[str, int, int], dict[int, bytes]] = defaultdict(dict)
    for _, packet in iterparse(pdml):
        if packet.tag == "packet":
            for key, offset, data in _stream_frames(packet):
                pieces[key].setdefault(offset, data)
            packet.clear()
    return {key: b"".join(parts[offset] for offset in sorted(parts)) for key, parts in pieces.items()}


def _stream_frames(packet: Element) -> Iterator[tuple[tuple[str, int, int], int, bytes]]:
    source = _shown(packet, "udp.srcport")
    connection = int(_shown(packet, "quic.connection.number") or 0)
    for frame in packet.iter("field"):
        if frame.get("name") != "quic.frame" or not (stream := _shown(frame, "quic.stream.stream_id")):
            continue
        data = next((one.get("value", "") for one in frame.iter("field") if one.get("name") == "quic.stream_data"), "")
        offset = int(_shown(frame, "quic.stream.offset") or 0)
        yield (source, connection, int(stream)), offset, bytes.fromhex(data)


def _shown(within: Element, name: str) -> str:
    return next((one.get("show", "") for one in within.iter("field") if one.get("name") == name), "")


def _read(file: Path, *options: str) -> bytes:
    command = ["tshark", "-r", str(file), *options]
    return subprocess.run(command, capture_output=True, timeout=READ_S, check=True).stdout
