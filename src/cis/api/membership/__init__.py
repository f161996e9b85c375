"""Who belongs to the cluster and may do what: pairing, tickets, roles, spaces, keys, access lists."""
