"""What the tests against js-libp2p need."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

PATIENCE_S = 90.0
POLL_S = 0.05

needs_libp2p = pytest.mark.skipif(
    find_spec("libp2p") is None, reason="py-libp2p is missing: pip install 'cis-node[libp2p]'"
)
