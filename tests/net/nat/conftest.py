"""One small internet for all tests of a session; where none can be built, they are skipped with the reason."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.net.nat import namespaces
from tests.net.nat.internet import Internet
from tests.net.nat.nodes import Trio, stop
from tests.net.nat.pairs import Trial
from tests.net.nat.servers import SPARE_HOST, SPARE_OTHER_HOST, Coturn, ice_settings
from tests.net.nat.signalling import ByAnchor


@pytest.fixture(scope="session")
def internet() -> Iterator[Internet]:
    if reason := namespaces.unfit():
        pytest.skip(reason)
    if missing := [program for program in ("turnserver", "miniupnpd") if shutil.which(program) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    with Internet() as made:
        yield made


@pytest.fixture(scope="session")
def coturn(internet: Internet) -> Coturn:
    return internet.stack.enter_context(Coturn(internet))


@pytest.fixture(scope="session")
def spare_coturn(internet: Internet) -> Coturn:
    return internet.stack.enter_context(Coturn(internet, SPARE_HOST, SPARE_OTHER_HOST))


@pytest.fixture(scope="session")
def trial(internet: Internet, coturn: Coturn, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """Two nodes of a cluster, an anchor between them, servers for STUN and TURN."""
    folder = tmp_path_factory.mktemp("nat")
    trio = Trio.make(internet, folder)
    internet.stack.callback(stop, trio.nodes)
    return Trial(internet, trio, ice_settings(), ByAnchor(internet, folder))
