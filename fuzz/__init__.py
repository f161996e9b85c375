"""Bytes from anywhere against everything that reads them: coverage-guided where atheris is installed (docs/testing.md).

A `Target` takes bytes and lets only what its room documents pass; `fuzz.registry` holds all of them. ::

    python -m fuzz wire.frames --runs 100000 --seed 1
    python -m fuzz wire.frames --replay build/fuzz/crashes/wire.frames-crash-…
"""
