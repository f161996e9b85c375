"""Where members are, told by providers, records and other members; and where this node says it is."""
