"""The settings of libp2p's hash table act, are checked, and the package they need is asked for where it is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from cis.api.configuration.settings import load
from cis.api.health import checkup
from cis.api.health.checkup import HEALTH
from cis.api.health.doctor import Scene
from cis.api.peers.providing import libp2p_of, providers_of
from cis.discovery.libp2p.provider import Libp2pProvider
from cis.errors import UsageError
from cis.node.home.folder import Home

ENTRY = "/ip4/192.0.2.7/tcp/4001/p2p/12D3KooWKnDdG3iXw9eTFijk3EWSunZcFi54Zka4wmtqtt6rPxc8"


def written(folder: Path, text: str) -> Path:
    (folder / "config.toml").write_text(f"[p2p.discovery.libp2p]\n{text}\n")
    return folder


def doctor(folder: Path) -> tuple[str, str, str] | None:
    return dict(HEALTH)["libp2p"](Scene(Home(folder), None, load(folder), None, None, reveal=False))


def test_it_is_off_unless_it_is_turned_on(tmp_path: Path) -> None:
    for settings in (load(tmp_path), load(written(tmp_path, f'bootstrap = ["{ENTRY}"]'))):
        assert libp2p_of(settings) is None
        assert not any(isinstance(one, Libp2pProvider) for one in providers_of(settings, (), tmp_path))
    assert doctor(tmp_path) is None


def test_what_is_set_reaches_the_provider(tmp_path: Path) -> None:
    text = f'enabled = true\nbootstrap = ["{ENTRY}"]\npublic_bootstrap = false\nport = 4001'
    settings = load(written(tmp_path, text), {"p2p.listen_address": "127.0.0.1"})
    [provider] = [one for one in providers_of(settings, (), tmp_path) if isinstance(one, Libp2pProvider)]
    options = provider._options
    assert (options.bootstrap, options.public_bootstrap, options.port) == ((ENTRY,), False, 4001)
    assert (options.listen, options.allow_loopback) == ("127.0.0.1", True)


@pytest.mark.parametrize("entry", ["192.0.2.7:4001", "/ip4/192.0.2.7/tcp/4001", "/ip4/192.0.2.7/udp/1/quic-v1/p2p/Qm"])
def test_an_entry_point_in_another_form_is_refused_with_the_forms_there_are(tmp_path: Path, entry: str) -> None:
    with pytest.raises(UsageError, match="is no libp2p entry point"):
        load(written(tmp_path, f'bootstrap = ["{entry}"]'))


def test_doctor_says_what_to_install_where_it_is_on_and_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, "enabled = true")
    monkeypatch.setattr(checkup, "is_installed", lambda: False)
    found = doctor(tmp_path)
    assert found is not None
    assert found[0] == "bad"
    assert "pip install 'cis-node[libp2p]'" in found[2]
    monkeypatch.setattr(checkup, "is_installed", lambda: True)
    assert doctor(tmp_path) == ("ok", "py-libp2p is installed", "")
