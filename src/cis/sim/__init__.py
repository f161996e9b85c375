"""The seeded simulator: the real protocol rooms and the real store, in virtual time on a network that fails."""
