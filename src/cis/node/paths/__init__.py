"""How connections get through and stay: signals, paths through NATs, other transports, and what became of them."""
