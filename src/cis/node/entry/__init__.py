"""How a connection is authenticated, and how a device comes in: by a code that is shown, or by a ticket."""
