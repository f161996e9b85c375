"""The Mainline DHT as a way of finding nodes: Kademlia (BEP 5) with signed items (BEP 44), by libtorrent.

The provider is :mod:`cis.discovery.dht.provider`, the DHT node itself :mod:`cis.discovery.dht.session`. libtorrent is
an optional dependency and costs memory: it is loaded when a session starts, and nowhere else.
"""
