"""The transports beside UDP that the settings ask for: through anchors, and those that other packages bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cis.anchor.client import AnchorClient
from cis.api.configuration.settings import Settings
from cis.discovery.plugins import PluginContext, explained, missing, offered
from cis.reach.transports import GROUP, Guarded, Transport


def transports_of(settings: Settings, anchors: Sequence[AnchorClient], folder: Path) -> list[Transport]:
    """Return all of them, those of plugins first; ``folder`` is the node's home."""
    transports = settings.p2p.transports
    found: list[Transport] = [
        _plugin(name, table, folder / "plugins") for name, table in sorted(transports.plugins.items())
    ]
    if transports.websocket and anchors:
        from cis.reach.tunnel import AnchorTunnel  # noqa: PLC0415 - slow to load, and most nodes use no anchor

        found.append(AnchorTunnel(anchors))
    return found


def _plugin(name: str, table: Mapping[str, Any], folder: Path) -> Guarded:
    entries = offered(name, GROUP)
    if len(entries) != 1:
        absent = missing(f"cis-transport-{name}", f"p2p.transports.plugins.{name}")
        return Guarded(name, None, "several installed packages offer it: remove all but one" if entries else absent)
    try:
        return Guarded(name, entries[0].load()(MappingProxyType(dict(table)), PluginContext(folder / name)))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the boundary to the plugin
        return Guarded(name, None, explained(error))
