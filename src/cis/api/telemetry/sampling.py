"""Settings files to start from: every setting with its meaning, and profiles that set some.

A profile is no setting itself: it is a file somebody reads, changes and keeps.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cis.api.configuration.settings_tree import fields, is_section
from cis.errors import UsageError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

_WIDTH = 100
_HEAD = """\
# Settings of a cis node: put this file where `cis config path` says, and remove the # of what you change.
# A running node takes up most changes at once (`cis config reload` tells which); the others hold from its next start.
"""

PROFILES: dict[str, tuple[str, dict[str, Any]]] = {
    "home": (
        "devices of one household, now and then away from it",
        {
            "p2p.nat.enable_upnp": True,
            "p2p.ice.use_public_stun": True,
        },
    ),
    "office": (
        "a network of others, that lets little in and is not to be filled by day",
        {
            "p2p.cloud_anchor.enabled": True,
            "p2p.cloud_anchor.endpoint": "https://anchor.example.net",
            "p2p.bandwidth.upload_limit": 1024,
            "p2p.bandwidth.download_limit": 2048,
            "p2p.bandwidth.off_peak.start": "20:00",
            "p2p.bandwidth.off_peak.end": "06:00",
        },
    ),
    "team": (
        "people who share spaces from several places, with an anchor of their own",
        {
            "p2p.cloud_anchor.enabled": True,
            "p2p.cloud_anchor.endpoint": "https://anchor.example.net",
            "p2p.ice.stun_servers": ["stun.example.net:3478"],
            "p2p.sync.interval": 30,
            "p2p.sync.conflict_resolution": "vector_clock",
        },
    ),
    "server": (
        "a node with an address of its own that is always on, and holds much for many",
        {
            "p2p.external_address": "server.example.net:7677",
            "p2p.discovery.enable_mdns": False,
            "p2p.sync.collect_history": True,
            "p2p.connection_pool.max_connections": 512,
            "memory.embedding.provider": "off",
            "log.format": "json",
            "metrics.enabled": True,
        },
    ),
    "anchors-only": (
        "nodes that ask nobody but their own anchor where the others are",
        {
            "p2p.discovery.enable_mdns": False,
            "p2p.cloud_anchor.enabled": True,
            "p2p.cloud_anchor.endpoint": "https://anchor.example.net",
        },
    ),
}
"""What each is for, and what it sets; addresses in it are examples."""


def sample_of(profile: str | None = None) -> str:
    """Return a settings file with every setting in it, only those of the profile set; `UsageError` for none known."""
    if profile is not None and profile not in PROFILES:
        raise UsageError(f"there is no profile {profile!r}: there are {', '.join(PROFILES)}")
    purpose, chosen = PROFILES[profile] if profile is not None else ("", {})
    what = f"# Profile {profile}: {purpose}.\n# Addresses in it are examples: put yours there.\n" if profile else ""
    return _HEAD + what + "".join(f"{line}\n" for line in _lines(chosen))


def _lines(chosen: dict[str, Any]) -> Iterator[str]:
    sections = {path: field.annotation for path, field in fields(sections=True) if is_section(field)}
    order = list(sections)
    section: tuple[str, ...] = ()
    for path, field in sorted(fields(), key=lambda found: order.index(found[0][:-1])):
        if path[:-1] != section:
            section = path[:-1]
            yield from ("", f"# {sections[section].__doc__}", f"[{'.'.join(section)}]")
        key = ".".join(path)
        yield from (f"# {line}" for line in textwrap.wrap(field.description or "", _WIDTH))
        value = chosen[key] if key in chosen else _example(field)
        yield f"{'' if key in chosen else '#'}{path[-1]} = {_toml(value)}"


def _example(field: FieldInfo) -> Any:  # noqa: ANN401 - of whichever type the setting is
    """What stands commented out: the default, or an example where the default is nothing to write."""
    if field.examples:
        return field.examples[0]
    secret = getattr(field.default, "get_secret_value", None)
    return secret() if secret is not None else field.default


def _toml(value: Any) -> str:  # noqa: ANN401 - of whichever type the setting is
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(inner)}" for name, inner in value.items()) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, ensure_ascii=False)
