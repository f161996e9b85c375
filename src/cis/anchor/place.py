"""Where an anchor is: its URL as people write it, and what a node needs to use it."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from cis.errors import UsageError


@dataclass(frozen=True)
class AnchorPlace:
    """Where an anchor is, and how this node may use it.

    ``ca_file`` holds the only certificates trusted, where it is given.
    """

    url: str
    token: str = field(default="", repr=False)
    ca_file: Path | None = None

    @property
    def host(self) -> str:
        """The name or address alone."""
        return urlsplit(self.url).hostname or ""

    @property
    def authority(self) -> str:
        """The name as HTTP's ``Host`` states it, with the port unless it is the usual one."""
        return authority_of(self.url)


def check_url(url: str) -> str:
    """Return an anchor's URL; `UsageError` unless it is ``https://``, or ``http://`` at a local address."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise UsageError(f"{url!r} is no address of an anchor: {error}") from None
    if not host or parts.query or parts.fragment or parts.username or parts.scheme not in {"http", "https"}:
        raise UsageError(f"{url!r} is no address of an anchor: write https://HOST or https://HOST:PORT")
    if parts.scheme == "http" and not _is_local(host):
        raise UsageError(f"{url!r} is not encrypted: an anchor on the internet is reached by https://")
    return url


def authority_of(url: str) -> str:
    """Return host and port as HTTP's ``Host`` states them."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    bracketed = f"[{host}]" if ":" in host else host
    usual = 443 if parts.scheme == "https" else 80
    return bracketed if parts.port in {None, usual} else f"{bracketed}:{parts.port}"


def _is_local(host: str) -> bool:
    try:
        return not ip_address(host).is_global
    except ValueError:
        return host == "localhost"
