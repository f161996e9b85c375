"""Which embedder the settings ask for, and in words why there is none.

``auto`` is the local model where it is installed. No other is ever chosen unasked: a server would read every memory. ::

    embedder = embedder_of(options)
    if embedder is None:
        print(why_none(options))
    elif may_embed(embedder, options, private=space == "private"):
        embedder.embed(texts)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

from cis.embedding.embedder import Embedder
from cis.errors import UsageError

Provider = Literal["auto", "minilm", "http", "off"]


@dataclass(frozen=True)
class EmbeddingOptions:
    """The settings ``memory.embedding``."""

    provider: Provider = "auto"
    url: str = ""
    model: str = ""
    token: str = field(default="", repr=False)
    private: bool = False
    unload_after_s: float = 300.0


def embedder_of(options: EmbeddingOptions) -> Embedder | None:
    """Return the embedder, None where there is none; loads nothing and asks nobody yet."""
    match options.provider:
        case "off":
            return None
        case "http":
            from cis.embedding.http import HttpEmbedder  # noqa: PLC0415 - loads TLS, which few nodes need

            return HttpEmbedder(options.url, options.model, options.token)
        case _:
            from cis.embedding.minilm import MiniLm, find_model  # noqa: PLC0415 - few commands need it

            folder = find_model()
            return MiniLm(folder) if folder else None


def why_none(options: EmbeddingOptions) -> str:
    """Say in one line why memories are not searched by meaning, and what to do about it; "" where they are."""
    if options.provider == "off":
        return "memories are found by their words alone: memory.embedding.provider is off"
    if options.provider == "http":
        return ""
    from cis.embedding.minilm import how_to_install  # noqa: PLC0415 - as above

    missing = how_to_install()
    return f"memories are found by their words alone until there is a model; to get one: {missing}" if missing else ""


def may_embed(embedder: Embedder, options: EmbeddingOptions, *, private: bool) -> bool:
    """Tell whether texts may be given to an embedder; ``private`` says that they are of the private space.

    Those leave this process only where a setting of its own says so.
    """
    return embedder.local or options.private or not private


def check_url(url: str) -> str:
    """Return an embedding server's URL; `UsageError` unless it is ``https://``, or ``http://`` at a local address."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise UsageError(f"{url!r} is no address of an embedding server: {error}") from None
    strange = parts.query or parts.fragment or parts.username or not url.isascii() or not url.isprintable()
    if not host or strange or " " in url or parts.scheme not in {"http", "https"}:
        raise UsageError(f"{url!r} is no address of an embedding server: write https://HOST/v1, without /embeddings")
    if parts.scheme == "http" and not _is_local(host):
        raise UsageError(f"{url!r} is not encrypted: an embedding server on the internet is reached by https://")
    return url


def check_token(token: str) -> str:
    """Return a token; `UsageError`, which does not show it, for one that fits into no header."""
    if not token.isascii() or not token.isprintable() or token != token.strip():
        raise UsageError("it holds what no header may: write the token alone, without spaces around it")
    return token


def _is_local(host: str) -> bool:
    try:
        return not ip_address(host).is_global
    except ValueError:
        return host == "localhost"
