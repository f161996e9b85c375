"""discovery decides where other nodes might be: providers yield sightings, which are hints and prove nothing.

The interface is :mod:`cis.discovery.provider`; the providers are :mod:`cis.discovery.static` (the addresses
the user wrote down) and :mod:`cis.discovery.mdns` (the local network). What a sighting leads to is decided in
``peers`` and proven by the handshake.
"""
