"""Benchmarks: real processes on loopback, compared within one run with something that bounds them.

A benchmark is a function that returns a frozen dataclass of figures (`figures`); it starts its processes with
`pair.Child`, each a role (`roles`, `node_role`, `bare_role`) that answers requests line by line. Absolute
figures depend on the machine; the ratios are what docs and targets speak of. Names of figures end in their
unit and are stable: ``cis bench … --json`` prints them as they are.
"""
