"""Bytes to messages and back: structs, columns, limits and versions; no decoder trusts what it is given."""
