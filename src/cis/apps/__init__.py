"""apps format what `cis.api` gives them, and decide nothing."""
