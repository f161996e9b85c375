"""Settings: what there is, where it comes from, how it acts, and how a running node takes up a change."""
