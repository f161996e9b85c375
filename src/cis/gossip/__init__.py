"""Epidemic broadcast among members: HyParView keeps the overlay, Plumtree the tree over it, both sans-IO."""
