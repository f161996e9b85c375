"""What all members are told by gossip: bulletins, made, opened and read once, and those who live by them."""
