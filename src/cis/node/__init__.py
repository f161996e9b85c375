"""A running node: `core` decides, `driver` performs, `local` is the node without its network."""
