"""cis beside what its users would pick instead: the same work, on the same machine, in the same run.

``python -m bench.peers`` (``make bench-peers``) lets each contestant (`catalogue`) do what `contest` asks of it: hold
many small entries on one side, bring them to an empty other side, then one update after the other. A contestant is
two processes that answer one JSON request a line: ``npm/*/*.mjs`` with ``npm/lines.mjs``, or a role in Python
(`cis_peer`, `syncthing_peer`). Each is set up as its own documentation advises; what is not comparable stands beside
its figure. `transport` compares what carries bytes. `page` and `plots` write ``docs/figures/peers.md``.
"""
