"""Running an anchor: its sockets, its clean end, and what it refuses to do.

It serves ``https`` with a certificate, ``http`` to this machine or behind a proxy that adds the encryption, and
``http`` to others only when told so. A proxy is believed what it says of whom it speaks for, nobody else is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import uvicorn

from cis.anchor.doorway import Doorway, Impatient
from cis.anchor.limits import AnchorLimits, limits_of
from cis.anchor.protocol import REQUEST_BYTES_MAX
from cis.anchor.service import anchor_app
from cis.anchor.shelf import Shelf
from cis.anchor.strict import Strict
from cis.anchor.stun import StunServer, answer_stun
from cis.anchor.switchboard import Switchboard
from cis.anchor.tunnels import Tunnels
from cis.errors import StoreError, Unavailable, UsageError

_log = logging.getLogger(__name__)

TICK_S = 1.0
PING_S = 20.0
GRACE_S = 3
BUFFER_BYTES = 128 << 10
"""Of a connection's socket, each way: what waits there delays all that comes after it, in the tunnel above all."""
TOKENS_MAX = 64
TOKEN_LENGTH_MIN = 16


@dataclass(frozen=True)
class AnchorOptions:
    """How an anchor runs; ``proxies`` are the addresses of who forwards to it."""

    host: str = "127.0.0.1"
    port: int = 7679
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    proxies: tuple[str, ...] = ()
    insecure: bool = False
    name: str | None = None
    stun_port: int | None = 3478
    """0 for any; None for no STUN"""
    tunnel: bool = True
    """whether it carries datagrams between nodes that no other way leads to each other"""
    database: Path | None = None
    tokens: tuple[str, ...] = field(default=(), repr=False)
    limits: AnchorLimits = field(default_factory=AnchorLimits)

    @property
    def trusted(self) -> list[str]:
        """The proxies, as IPv4 and as a socket for both families spells them."""
        mapped = [f"::ffff:{one}" for one in self.proxies if ":" not in one]
        return [*self.proxies, *mapped]

    @property
    def encrypted(self) -> bool:
        """Whether this process itself does the TLS."""
        return self.tls_certificate is not None

    def checked(self) -> AnchorOptions:
        """Return them; `UsageError` for what belongs together and is not, and for plain http to others."""
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise UsageError("--tls-cert and --tls-key go together")
        for proxy in self.proxies:
            if not _is_address(proxy):
                raise UsageError(f"--behind-proxy {proxy}: give the proxy's address, as 127.0.0.1")
        if not self.encrypted and not self.proxies and not self.insecure and not _is_loopback(self.host):
            raise UsageError(
                f"without a certificate an anchor at {self.host} would be reached by plain http, which shows access "
                "tokens to anybody on the way: give --tls-cert and --tls-key, or --behind-proxy ADDRESS, or, in a "
                "closed network, --insecure-http"
            )
        return self


@dataclass(frozen=True)
class Serving:
    """An anchor that runs: at which address, and on which UDP port it answers STUN."""

    url: str
    stun_port: int | None


def read_tokens(path: Path) -> tuple[str, ...]:
    """Return the access tokens of a file, one a line; `UsageError` where it has none, or too short ones."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the tokens in {path} cannot be read: {error}") from error
    tokens = tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not 0 < len(tokens) <= TOKENS_MAX or any(len(one) < TOKEN_LENGTH_MIN for one in tokens):
        raise UsageError(
            f"{path} holds {len(tokens)} tokens: 1 to {TOKENS_MAX}, one a line, each of {TOKEN_LENGTH_MIN} characters "
            "or more, as `openssl rand -hex 16` makes them"
        )
    return tokens


def read_limits(path: Path) -> AnchorLimits:
    """Return the limits of a file of TOML; `UsageError` where it is none."""
    try:
        return limits_of(tomllib.loads(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"the limits in {path} cannot be read: {error}") from error


def run_anchor(options: AnchorOptions, on_ready: Callable[[Serving], None]) -> None:
    """Serve until SIGINT or SIGTERM; raises `UsageError`, `Unavailable` or `StoreError` where it cannot begin."""
    asyncio.run(serve(options.checked(), on_ready, signals=(signal.SIGINT, signal.SIGTERM)))


async def serve(
    options: AnchorOptions, on_ready: Callable[[Serving], None], signals: tuple[signal.Signals, ...] = ()
) -> None:
    """Serve until a signal comes, or the task is cancelled."""
    shelf = Shelf(options.database)
    async with AsyncExitStack() as stack:
        stack.callback(shelf.close)
        stun: StunServer | None = None
        if options.stun_port is not None:
            # A proxy forwards no UDP: nodes send it here.
            host = "::" if options.proxies else options.host
            stun = await stack.enter_async_context(answer_stun(host, options.stun_port))
        port = stun.port if stun is not None else 0
        switchboard = Switchboard(shelf, options.limits, options.tokens, os.urandom, stun_port=port)
        tunnels = _tunnels(options, switchboard)
        app = anchor_app(switchboard, options.name, lambda: stun.answered if stun is not None else 0, tunnels)
        listening = Doorway(_bound(options), options.limits, options.trusted)
        stack.callback(listening.close)
        server = _Server(_configured(options, app))
        for number in signals:
            asyncio.get_running_loop().add_signal_handler(number, server.close)
        async with asyncio.TaskGroup() as group:
            ticking = group.create_task(_tick(switchboard, tunnels))
            on_ready(Serving(_url(options, listening), stun.port if stun is not None else None))
            try:
                await server.serve(sockets=[listening])
            except asyncio.CancelledError:  # uvicorn ends connections only where it ends by itself
                await server.shutdown(sockets=[listening])
                raise
            finally:
                ticking.cancel()


def _tunnels(options: AnchorOptions, switchboard: Switchboard) -> Tunnels | None:
    if not options.tunnel:
        return None
    return Tunnels(options.limits, switchboard.rates, switchboard.token_problem if options.tokens else None)


async def _tick(switchboard: Switchboard, tunnels: Tunnels | None) -> None:
    while True:
        await asyncio.sleep(TICK_S)
        if tunnels is not None:
            tunnels.tick(time.monotonic())
        try:
            switchboard.tick(time.monotonic(), time.time())
        except StoreError:
            _log.exception("records that have expired could not be dropped")


class _Server(uvicorn.Server):
    """Leaves signals to `serve`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def close(self) -> None:
        """End all connections, and return from ``serve``."""
        self.should_exit = True


def _configured(options: AnchorOptions, app: object) -> uvicorn.Config:
    config = uvicorn.Config(
        app,  # type: ignore[arg-type] # an application of starlette is one
        http=Impatient,
        ws=Strict,
        ws_max_size=REQUEST_BYTES_MAX,
        ws_ping_interval=PING_S,
        ws_ping_timeout=PING_S,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        log_level="error",  # below it are addresses, and what strangers did wrong
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=bool(options.proxies),
        forwarded_allow_ips=options.trusted,
        ssl_certfile=options.tls_certificate,
        ssl_keyfile=str(options.tls_key) if options.tls_key is not None else None,
        timeout_graceful_shutdown=GRACE_S,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"the certificate or its key cannot be used: {error}") from error
    return config


def _bound(options: AnchorOptions) -> socket.socket:
    six = ":" in options.host
    dual = options.host == "::" and socket.has_dualstack_ipv6()
    try:
        bound = socket.create_server(
            (options.host, options.port),
            family=socket.AF_INET6 if six else socket.AF_INET,
            backlog=256,
            dualstack_ipv6=dual,
        )
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):  # connections take them over
            bound.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        return bound
    except OSError as error:
        raise Unavailable(f"the anchor cannot listen on port {options.port}: {error.strerror or error}") from error


def _url(options: AnchorOptions, listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    bracketed = f"[{host}]" if ":" in host else host
    return f"{'https' if options.encrypted else 'http'}://{bracketed}:{port}"


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
