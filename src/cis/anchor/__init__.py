"""The anchor: a rendezvous that nodes register with, look each other up on, and signal and pair through."""
