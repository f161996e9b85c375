"""Reach: how a node learns where it can be reached from outside, and finds a path through address translation."""
