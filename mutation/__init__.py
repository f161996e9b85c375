"""Mutation testing: does a test fail when a line of the code says something else.

mutmut writes thousands of small changes into the pure rooms that decide about data and trust, and runs for each the
tests that reach the function it is in; `workshop` has it do that in a copy of the tree, `report` says what came of it.

::

    python -m mutation --share 0.05 --seed 1
"""
