"""``cis web``: a page on this machine that shows a node and its memories; a client of the node like any other."""
