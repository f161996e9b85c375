"""How libp2p's network is entered, and where the worker listens."""

from __future__ import annotations

from dataclasses import dataclass

from cis.discovery.libp2p.messages import Begin
from cis.discovery.libp2p.places import PUBLIC
from cis.errors import Unavailable


@dataclass(frozen=True)
class Libp2pOptions:
    """How the network is entered, and where the worker listens (TCP; port 0 for any).

    Without the public entry points the network is taken for a private one, whose nodes may have private addresses.
    """

    bootstrap: tuple[str, ...] = ()
    public_bootstrap: bool = True
    listen: str = "0.0.0.0"  # noqa: S104 - as the node itself does
    port: int = 0
    allow_loopback: bool = False

    def begin(self) -> Begin:
        """Return a worker's first orders; `Unavailable` where nothing leads into the network."""
        entries = self.bootstrap + (PUBLIC if self.public_bootstrap else ())
        if not entries:
            raise Unavailable("libp2p has no entry point: set p2p.discovery.libp2p.bootstrap")
        return Begin(self.listen, self.port, entries, private=not self.public_bootstrap, loopback=self.allow_loopback)
