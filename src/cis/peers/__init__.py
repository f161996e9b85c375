"""What is known of each peer, and whom to dial next: a pure book of states, addresses and backoff."""

from cis.peers.book import Address, Peer, PeerBook, State, Target

__all__ = ["Address", "Peer", "PeerBook", "State", "Target"]
