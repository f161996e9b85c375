"""The anchors of the settings: where they are, the clients that use them, and what keeps one from serving."""

from __future__ import annotations

from pathlib import Path

from cis.anchor.client import AnchorClient
from cis.anchor.place import AnchorPlace, check_url
from cis.api.configuration.settings import Settings, load


def places_of(settings: Settings, other: str | None = None) -> tuple[AnchorPlace, ...]:
    """Return the anchors of the settings, none where they are turned off; or the ``other`` one alone, if given.

    Another one that the settings name too is used as they say.
    """
    anchor = settings.p2p.cloud_anchor
    ca_file = Path(anchor.ca_file).expanduser() if anchor.ca_file else None
    known = {url.rstrip("/"): AnchorPlace(url, anchor.token.get_secret_value(), ca_file) for url in anchor.endpoint}
    if other is not None:
        return (known.get(other.rstrip("/"), AnchorPlace(check_url(other), ca_file=ca_file)),)
    return tuple(known.values()) if anchor.enabled else ()


def anchor_hosts(home: Path, other: str | None = None) -> list[str]:
    """Return where the node in a home meets others, `places_of` for people to read."""
    return [place.host for place in places_of(load(home), other)]


def uses_anchor(home: Path, url: str) -> bool:
    """Tell whether the node in a home registers with that anchor."""
    return url.rstrip("/") in [place.url.rstrip("/") for place in places_of(load(home))]


def anchors_of(settings: Settings) -> list[AnchorClient]:
    """Return a client for each anchor of the settings."""
    interval_s = settings.p2p.cloud_anchor.register_interval
    return [AnchorClient(place, register_interval_s=interval_s) for place in places_of(settings)]
