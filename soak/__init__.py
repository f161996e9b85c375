"""A cluster of real nodes that runs for an hour under load, with nodes that go and come back, to see what grows.

::

    python -m soak --minutes 60 --nodes 5 --seed 1 --figures docs/figures

`run` has the nodes run, `load` asks things of them and remembers what was acknowledged, `sampling` looks at their
processes, `trend` says what grows and by how much, `report` what comes of it. docs/figures/soak.md has the figures.
"""
