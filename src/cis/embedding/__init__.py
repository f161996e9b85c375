"""Texts as vectors, so that memories are found by what they mean: models on this machine, and servers asked by HTTP."""
