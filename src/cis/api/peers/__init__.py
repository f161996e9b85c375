"""Other nodes: how they are found and reached, connections, synchronisation, broadcasts."""
