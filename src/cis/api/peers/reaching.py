"""What the settings mean for reach: which servers a node asks about itself, and which relays it may use."""

from __future__ import annotations

from cis.api.configuration.relay_urls import parse_stun, parse_turn
from cis.api.configuration.settings import Settings
from cis.reach.options import ReachOptions, TurnServer
from cis.reach.public_stun import PUBLIC_STUN


def reach_options(settings: Settings) -> ReachOptions:
    """Return the servers of the settings, the user's own first; public ones only where the user agreed to them."""
    ice = settings.p2p.ice
    own = tuple(parse_stun(text) for text in ice.stun_servers)
    public = tuple(one for one in PUBLIC_STUN if one not in own) if ice.use_public_stun else ()
    relays = []
    for server in ice.turn_servers:
        place = parse_turn(server.url)
        credential = server.credential.get_secret_value()
        relays.append(TurnServer(place.host, place.port, place.transport, server.username, credential))
    return ReachOptions(stun_servers=(*own, *public), turn_servers=tuple(relays), upnp=settings.p2p.nat.enable_upnp)
