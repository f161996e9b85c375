"""libp2p's Kademlia as a second hash table: a node is found through a network that is not ours, which learns no name.

Each node provides a key of its beacon's tag (`cis.trust.beacons`), and hands its sealed record to whoever asks for the
tag itself over the stream ``/cis/record/1``; the key is a hash of the tag, so only members can ask
(https://github.com/libp2p/specs/tree/master/kad-dht, https://github.com/libp2p/specs/tree/master/addressing). Nothing
else is ever sent over libp2p.

py-libp2p is large and foreign, so it runs in a process of its own, :mod:`cis.discovery.libp2p.worker`, which holds no
key of ours and lives for one slot: the next slot's has another libp2p identity. :mod:`cis.discovery.libp2p.provider`
starts it and speaks with it in :mod:`cis.discovery.libp2p.messages`; docs/dht.md says what it costs and who sees what.
"""
