"""What a node decides: the machines, wired in `core`; no I/O and no clock of its own."""
