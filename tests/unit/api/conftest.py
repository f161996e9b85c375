"""A node without a network whose clock the test sets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cis.api.embedded import EmbeddedNode
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from tests.unit.api.clocks import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def node(tmp_path: Path, clock: Clock) -> Iterator[EmbeddedNode]:
    home = Home(tmp_path / "home")
    LocalNode.create(home, "solo").close()
    with EmbeddedNode(LocalNode.open(home, clock_ms=clock)) as node:
        yield node
