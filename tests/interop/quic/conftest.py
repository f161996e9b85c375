"""Our endpoint, as the tests of net open it."""

from __future__ import annotations

from tests.net.conftest import node

__all__ = ["node"]
