"""The control socket of a running node: what is asked of it, its server and its client."""
