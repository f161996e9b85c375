"""``cis top``: a live screen of a running node, a client of its control socket like every other command."""
