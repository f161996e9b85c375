"""cis: one shared memory for the agents on all your devices, peer to peer, with no server."""

__version__ = "0.1.0"
