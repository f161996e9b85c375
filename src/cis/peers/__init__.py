"""What is known of each peer, and whom to dial next: a pure book of states, addresses, scores and backoff."""

from cis.peers.book import PeerBook
from cis.peers.peer import Address, Peer, Target
from cis.peers.states import State

__all__ = ["Address", "Peer", "PeerBook", "State", "Target"]
