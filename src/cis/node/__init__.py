"""A running node: `core` decides, `driver` performs, `home` is the node without its network."""
