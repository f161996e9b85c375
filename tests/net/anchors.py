"""Anchors inside the test's own process, on loopback."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cis.anchor.serving import AnchorOptions, Serving, serve


@asynccontextmanager
async def anchored(**options: Any) -> AsyncIterator[str]:
    """Serve an anchor; yields its URL."""
    async with serving(**options) as found:
        yield found.url


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Serving]:
    """Serve an anchor on a free port, and STUN if asked to."""
    ready: asyncio.Future[Serving] = asyncio.get_running_loop().create_future()
    given = AnchorOptions(**{"port": 0, "stun_port": None, **options}).checked()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(serve(given, ready.set_result))
        either: list[asyncio.Future[Any]] = [ready, task]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        try:
            if ready.done():
                yield ready.result()
        finally:
            task.cancel()


def certificate(folder: Path, name: str = "127.0.0.1") -> tuple[Path, Path]:
    """Make a certificate that vouches for itself; returns the files of it and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(name))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, key_pem = folder / "certificate.pem", folder / "key.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    key_pem.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return pem, key_pem


@asynccontextmanager
async def brittle(url: str) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """A way to a server whose connections so far carry nothing any more once they are frozen."""
    frozen: list[asyncio.Event] = []

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, dead: asyncio.Event) -> None:
        while data := await reader.read(1 << 16):
            if not dead.is_set():
                writer.write(data)
        writer.close()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        frozen.append(dead := asyncio.Event())
        async with asyncio.TaskGroup() as group:
            group.create_task(carry(reader, behind[1], dead))
            group.create_task(carry(behind[0], writer, dead))

    def freeze() -> None:
        for dead in frozen:
            dead.set()

    async with await asyncio.start_server(join, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", freeze
