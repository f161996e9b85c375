"""How a connection is authenticated, how a device comes in, and who is heard or held at the door."""
