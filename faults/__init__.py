"""Faults made on purpose, a module each: what is done to the store or to real nodes, how often, and what was lost.

::

    python -m faults.power --seed 1 --count 10000
    python -m faults.kill --count 1000 --json

Each is seeded and bounded, prints its counts, and ends with 1 where anything was lost; docs/faults.md has the table.
`faults.disk` is the disk under the store: it records, and it fails when told to.
"""
