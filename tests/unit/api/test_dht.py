"""Operations on the DHT say when it is off and what turns it on; files of it are made and checked."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cis.api.configuration.settings import load
from cis.api.peers import dht as dht_module
from cis.api.peers.dht import DhtOperations, ports_of
from cis.api.peers.dht_files import add_entry, entries_of, seed_in
from cis.api.peers.dht_schema import (
    AnnounceInDht,
    EnterDht,
    FindDhtNodes,
    GetDhtItem,
    GetDhtStatus,
    ListDhtNodes,
    PutDhtItem,
)
from cis.api.peers.providing import dht_of
from cis.apps.cli.main import run
from cis.discovery.dht.asking import Item
from cis.discovery.dht.lookup import Known
from cis.discovery.dht.options import PUBLIC_BOOTSTRAP, DhtOptions
from cis.discovery.dht.provider import DhtProvider
from cis.errors import CisError, Unavailable, UsageError


class Session:
    """What `DhtSession` shows, over a table."""

    def __init__(self) -> None:
        self.addresses = [("127.0.0.1", 6881)]
        self.items: dict[bytes, Item] = {}
        self.copies = 8
        self.entered: list[tuple[str, int]] = []

    async def statistics(self) -> dict[str, int]:
        return {"nodes": 3, "mutable_data": 1, "immutable_data": 2, "bytes_in": 10, "bytes_out": 20}

    async def closest(self, target: bytes) -> list[Known]:
        return [Known(target, "192.0.2.1", 1)]

    async def get(self, key: bytes, salt: bytes = b"") -> Item | None:
        return self.items.get(key + salt)

    async def get_immutable(self, target: bytes) -> Item | None:
        return self.items.get(target)

    async def put(self, key: bytes, value: bytes, sign: Any, salt: bytes = b"") -> int:
        assert len(sign(b"message")) == 64
        self.items[key + salt] = Item(value, 1)
        return self.copies

    async def put_immutable(self, value: bytes) -> tuple[bytes, int]:
        self.items[b"h" * 20] = Item(value)
        return b"h" * 20, self.copies

    def add_bootstrap(self, host: str, port: int) -> None:
        self.entered.append((host, port))


def operations(session: Session | None = None, *, on: bool = True) -> DhtOperations:
    provider = DhtProvider(DhtOptions(bootstrap=(("192.0.2.9", 6881),)))
    provider.session = session  # type: ignore[assignment]  # stands in
    driver: Any = SimpleNamespace(options=SimpleNamespace(providers=(provider,) if on else ()))
    return DhtOperations(driver)


async def test_all_say_that_the_dht_is_off_and_which_setting_turns_it_on() -> None:
    off = operations(on=False)
    assert not (await off.status(GetDhtStatus())).on
    for ask in (
        off.nodes(ListDhtNodes()),
        off.find(FindDhtNodes(id="00" * 20)),
        off.get(GetDhtItem(target="00" * 20)),
        off.put(PutDhtItem(value="x")),
        off.announce(AnnounceInDht()),
    ):
        with pytest.raises(Unavailable, match=r"p2p\.discovery\.enable_dht true"):
            await ask
    assert not (await off.enter(EnterDht(entry="192.0.2.1:1"))).on


async def test_where_libtorrent_is_missing_they_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dht_module, "installed", lambda: False)
    missing = operations()
    status = await missing.status(GetDhtStatus())
    assert status.on
    assert not status.installed
    assert "cis-node[dht]" in status.problem
    with pytest.raises(Unavailable, match=r"cis-node\[dht\]"):
        await missing.nodes(ListDhtNodes())


async def test_a_status_says_who_is_known_and_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dht_module, "installed", lambda: True)
    status = await operations(Session()).status(GetDhtStatus())
    assert (status.nodes, status.items, status.addresses) == (3, 3, ("127.0.0.1:6881",))
    assert (status.copies, status.entries) == (None, ("192.0.2.9:6881",))


async def test_what_was_put_is_got_by_what_was_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dht_module, "installed", lambda: True)
    there = operations(Session())
    hashed = await there.put(PutDhtItem(value="grüße"))
    assert (await there.get(GetDhtItem(target=hashed.target))).text == "grüße"
    keyed = await there.put(PutDhtItem(value="one", seed="ab" * 32, salt="s"))
    found = await there.get(GetDhtItem(target=keyed.target, salt="s"))
    assert (found.text, found.number, found.size) == ("one", 1, 3)
    with pytest.raises(CisError, match="nothing is found"):
        await there.get(GetDhtItem(target=keyed.target))


async def test_strange_values_are_shown_and_wrong_requests_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dht_module, "installed", lambda: True)
    session = Session()
    there = operations(session)
    session.items[b"b" * 20], session.items[b"d" * 20] = Item(b"\xff\0"), Item({b"k": [1, b"\xff"]})
    assert (await there.get(GetDhtItem(target=(b"b" * 20).hex()))).hex == "ff00"
    assert (await there.get(GetDhtItem(target=(b"d" * 20).hex()))).text == r"{b'k': [1, b'\xff']}"
    for wrong in ("", "zz" * 20, "00" * 19, "0" * 41):
        with pytest.raises(UsageError, match="hexadecimal"):
            await there.get(GetDhtItem(target=wrong))
        with pytest.raises(UsageError, match="hexadecimal"):
            await there.find(FindDhtNodes(id=wrong))
    with pytest.raises(UsageError, match="996"):
        await there.put(PutDhtItem(value="x" * 997))
    with pytest.raises(UsageError, match="64 at most"):
        await there.put(PutDhtItem(value="x", salt="x" * 65))
    session.copies = 0
    with pytest.raises(Unavailable, match="no node of the DHT took it"):
        await there.put(PutDhtItem(value="x"))


async def test_an_entry_point_is_used_at_once_and_after_the_network_changed() -> None:
    session = Session()
    entered = await operations(session).enter(EnterDht(entry="192.0.2.1"))
    assert session.entered == [("192.0.2.1", 6881)]
    assert entered.entries == ("192.0.2.1:6881", "192.0.2.9:6881")


def test_ports_are_those_of_a_dht_that_listens() -> None:
    provider = DhtProvider(DhtOptions())
    driver: Any = SimpleNamespace(options=SimpleNamespace(providers=(provider, object())))
    assert ports_of(driver) == ()
    provider.session = Session()  # type: ignore[assignment]  # stands in
    assert ports_of(driver) == (6881,)


# --- files ------------------------------------------------------------------------------------------------------------


def test_entry_points_come_before_the_public_ones_which_a_private_network_has_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert entries_of(tmp_path)[0] == ("router.bittorrent.com:6881", "built in")
    assert add_entry(tmp_path, "dht.example.net") == ("dht.example.net:6881",)
    assert add_entry(tmp_path, "[2001:db8::1]:7") == ("[2001:db8::1]:7", "dht.example.net:6881")
    assert add_entry(tmp_path, "dht.example.net:6881") == ("dht.example.net:6881", "[2001:db8::1]:7")
    assert len(entries_of(tmp_path)) == 2 + len(PUBLIC_BOOTSTRAP)
    with pytest.raises(UsageError):
        add_entry(tmp_path, "no such host!")
    home = ["--home", str(tmp_path)]
    assert run([*home, "config", "set", "p2p.discovery.dht_public_bootstrap", "false"]) == 0
    capsys.readouterr()
    assert run([*home, "p2p", "dht", "list-bootstrap"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "dht.example.net:6881  settings",
        "[2001:db8::1]:7       settings",
    ]


def test_a_key_is_made_once_and_nonsense_is_none(tmp_path: Path) -> None:
    file = tmp_path / "try.key"
    seed = seed_in(file)
    assert seed_in(file) == seed
    assert len(bytes.fromhex(seed)) == 32
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text("no seed")
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        seed_in(file)


def test_the_settings_say_whether_there_is_a_dht_and_which(tmp_path: Path) -> None:
    assert dht_of(load(tmp_path), tmp_path) is None
    (tmp_path / "config.toml").write_text(
        '[p2p]\nlisten_address = "127.0.0.1"\n[p2p.discovery]\nenable_dht = true\nbootstrap_nodes = ["192.0.2.1"]\n'
        "dht_public_bootstrap = false\ndht_port = 7\ndht_read_only = true\n"
    )
    provider = dht_of(load(tmp_path), tmp_path)
    assert provider is not None
    assert provider.options == DhtOptions(
        "127.0.0.1", 7, (("192.0.2.1", 6881),), public=False, read_only=True, state=tmp_path / "dht-nodes.txt"
    )
