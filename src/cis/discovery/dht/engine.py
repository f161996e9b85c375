"""libtorrent as the DHT node: it binds, keeps the routing table, answers others, and says how it stands.

It works in threads of its own and tells of it by `cis.discovery.dht.alerts`. The DHT is turned on once the port is
bound, since the nodes known from the last run would be lost otherwise.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
from typing import Any

from cis.discovery.dht.alerts import Alerts, Listening, listening_in, nodes_told
from cis.discovery.dht.lookup import ID_LENGTH, Known
from cis.discovery.dht.options import DhtOptions, libtorrent_settings, load_libtorrent, places_to_listen
from cis.discovery.dht.table import Address, nodes_in, own_ids_in, read_nodes, state_of
from cis.errors import Unavailable

_BIND_S, _BIND_GRACE_S, _BIND_TRIES = 3.0, 0.2, 5
_STATE_S = 2.0


class Engine:
    """One session of libtorrent, between `open` and `close`; belongs to the loop's thread."""

    def __init__(self, options: DhtOptions) -> None:
        self.library = load_libtorrent()
        self.addresses: list[Address] = []
        self._options = options
        self._alerts = Alerts(self.library)
        self._open: Any = None

    @property
    def _session(self) -> Any:  # noqa: ANN401 - libtorrent's
        if self._open is None:
            raise Unavailable("the DHT was just ended, as the network has changed or the node stops")
        return self._open

    async def open(self) -> None:
        """Bind, and turn the DHT on; `Unavailable` where no port can be had."""
        await self._bind()
        self._session.apply_settings({"enable_dht": True})

    async def close(self) -> None:
        """End it, as far as it has begun."""
        await self._end()
        self._alerts.close()

    def meet(self, host: str, port: int) -> None:
        """Ask a node at an IP address whether it is there, and take it into the table if so."""
        self._session.add_dht_node((host, port))

    def wander(self) -> None:
        """Search for nothing in particular, which fills the table."""
        self._session.dht_get_peers(self.library.sha1_hash(os.urandom(ID_LENGTH)))

    async def statistics(self) -> dict[str, int]:
        """Return libtorrent's counters of the DHT, as it names them after ``dht.dht_``."""
        found = await self._alerts.first(
            "statistics",
            self._session.post_session_stats,
            lambda alert: {key: int(count) for key, count in alert.values.items() if key.startswith("dht.dht_")},
            _STATE_S,
        )
        return {key.removeprefix("dht.dht_"): count for key, count in (found or {}).items()}

    async def routing_table(self) -> list[Known]:
        """Return the nodes in the routing table that answer."""
        found: dict[bytes, Known] = {}
        for own in own_ids_in(await asyncio.to_thread(self._state)):
            told = await self._alerts.first(
                ("live", own),
                lambda own=own: self._session.dht_live_nodes(self.library.sha1_hash(own)),  # type: ignore[misc]  # lambda
                nodes_told,
                _STATE_S,
            )
            found |= {id_: Known(id_, *address) for id_, address in told or ()}
        return list(found.values())

    async def nodes_to_keep(self) -> list[Address]:
        """Return the nodes that libtorrent would save, without its own id."""
        return nodes_in(await asyncio.to_thread(self._state))

    async def _bind(self) -> None:
        """Make a session that listens; on another port where the first one found free was not so for UDP."""
        tries, why = (_BIND_TRIES if self._options.port == 0 else 1), "there is no address to listen on"
        state = self._options.state
        known = await asyncio.to_thread(read_nodes, state) if state is not None else []
        for _ in range(tries):
            listen = await asyncio.to_thread(places_to_listen, self._options)
            if not listen:
                break
            self._open = self._made(listen, known)
            single = len(listen) == 1 and not ipaddress.ip_address(listen[0][0]).is_unspecified
            told = await self._listening(single=single)
            self.addresses = [one.address for one in told if one.address is not None]
            if self.addresses:
                return
            why = next((one.text for one in told if one.failed), why)
            await self._end()
        raise Unavailable(f"the DHT cannot listen: {why}")

    async def _listening(self, *, single: bool) -> list[Listening]:
        """Wait until the one address is bound or is not; of several, for those that follow the first soon."""

        def enough(told: list[Listening]) -> bool:
            return told[-1].address is not None or (single and told[-1].failed)

        told = await self._alerts.gather("listen", lambda: None, listening_in, _BIND_S, enough)
        if not single:
            told += await self._alerts.gather("listen", lambda: None, listening_in, _BIND_GRACE_S, lambda _: False)
        return told

    def _made(self, listen: list[Address], known: list[Address]) -> Any:  # noqa: ANN401 - libtorrent's
        lt = self.library
        flags = lt.save_state_flags_t.save_dht_state
        parameters = lt.read_session_params(lt.bencode(state_of(known)), flags) if known else lt.session_params()
        parameters.settings = libtorrent_settings(self._options, listen, self._alerts.mask)
        session = lt.session(parameters)
        self._alerts.attach(session)
        return session

    def _state(self) -> Any:  # noqa: ANN401 - decoded bencoding
        """Return what libtorrent would save; takes a moment while it is busy."""
        lt, flags = self.library, self.library.save_state_flags_t.save_dht_state
        return lt.bdecode(lt.write_session_params_buf(self._session.session_state(flags), flags))

    async def _end(self) -> None:
        ending = [self._open]
        self._open = None
        self._alerts.detach()
        await asyncio.to_thread(ending.clear)  # the last reference: its end waits for the library's threads
