"""The node without its network: its `folder`, how it is unlocked, and `local`: identity, store and cluster of one."""
