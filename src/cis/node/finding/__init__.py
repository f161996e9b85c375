"""Where members are, and where this node says it is: providers, records, and what is kept for a restart."""
