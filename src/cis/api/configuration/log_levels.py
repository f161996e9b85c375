"""How much is logged, by area: what ``CIS_LOG=warning,p2p=debug`` means."""

from __future__ import annotations

import logging

from cis.errors import UsageError

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_BETWEEN_NODES = ("node", "net", "gossip", "sync", "peers", "discovery", "reach")
_ROOMS = (*_BETWEEN_NODES, "anchor", "api", "apps", "bench", "embedding", "sim", "store", "trust")
AREAS = {
    "p2p": tuple(f"cis.{room}" for room in _BETWEEN_NODES),
    **{room: (f"cis.{room}",) for room in sorted(_ROOMS)},
}
"""The areas and the loggers that belong to each; ``p2p`` is everything between nodes."""


def levels_of(text: str) -> dict[str, int]:
    """Return the level of each logger named, ``cis`` for the rest; `UsageError` for a level or an area there is not.

    ::

        levels_of("info")                      # {"cis": 20}
        levels_of("p2p=debug,store=warning")   # {"cis": 20, "cis.node": 10, ..., "cis.store": 30}

    Of two that speak of one logger the later wins.
    """
    levels = {"cis": logging.INFO}
    for part in filter(None, (part.strip() for part in text.lower().split(","))):
        area, named, word = (piece.strip() for piece in part.rpartition("="))
        if word not in LEVELS:
            raise UsageError(f"{word!r} is no level: there are {', '.join(LEVELS)}")
        if named and area not in AREAS:
            raise UsageError(f"{area!r} is no area: there are {', '.join(AREAS)}")
        levels |= dict.fromkeys(AREAS[area] if named else ("cis",), LEVELS[word])
    return levels
