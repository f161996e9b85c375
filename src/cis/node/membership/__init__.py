"""The cluster as one node takes part in it: who is in it, who may write where, and what its admins decide."""
