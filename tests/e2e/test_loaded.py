"""What is loaded, and what waits until it is used: start, memory and the time of a command are made of that."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.conftest import Home

SHOWN = {"PYTHONPROFILEIMPORTTIME": "1"}
"""Has the interpreter tell on stderr of everything it imports."""
NODE = {
    "cis.node.home.local",
    "cis.node.driver",
    "cis.store",
    "cis.net",
    "cis.trust",
    "cis.gossip",
    "cis.sync",
    "cis.discovery",
    "cis.reach.gathering",
}
HEAVY = {"numpy", "cryptography", "nacl", "apsw", "qh3", "pydantic", "rich", "asyncio", "mcp", "textual", "starlette"}
SELDOM = {
    "numpy",  # for what merges in bulk, and searches by meaning
    "aioice",  # for paths through NATs
    "dns",  # aioice's
    "rich",  # for who looks at a terminal
    "tomlkit",  # to change settings
    "prometheus_client",
    "libtorrent",
    "cis.discovery.libp2p.provider",
    "cis.discovery.mdns",  # turned off here
    "zeroconf",
    "cis.embedding.bert",
    "cis.anchor.line",
    "websockets",
    "httpx",
    "mcp",
    "starlette",
    "uvicorn",
    "textual",
    "cis.apps.cli.memory",
    "cis.apps.cli.p2p",
    "cis.api.exchange.markdown",
    "yaml",
}
"""Of a node that is connected and has nothing to do."""


def loaded(told: str) -> set[str]:
    """The modules a process says it imported, and the packages they are in."""
    names = [line.rpartition("|")[2].strip() for line in told.splitlines() if line.startswith("import time:")]
    assert "typer" in names
    return {".".join(name.split(".")[:length]) for name in names for length in range(1, name.count(".") + 2)}


@pytest.mark.parametrize("words", [[], ["--help"], ["memory", "--help"]])
def test_help_loads_no_client_and_no_node(new_home: Callable[[str], Home], words: list[str]) -> None:
    found = loaded(new_home("none").run(*words, **SHOWN).err)
    assert found & (NODE | HEAVY | {"cis.api.control.client"}) == set()


def test_a_command_beside_a_running_node_loads_no_node_of_its_own(new_home: Callable[[str], Home]) -> None:
    home = new_home("one")
    home.cis("init", "--name", "one")
    home.up()
    for words in (("status",), ("memory", "list"), ("p2p", "peers")):
        ended = home.run(*words, **SHOWN)
        assert ended.code == 0
        assert loaded(ended.err) & (NODE | HEAVY) == set(), words
    home.kill()


def test_a_command_on_the_store_alone_loads_no_network(new_home: Callable[[str], Home]) -> None:
    home = new_home("one")
    home.cis("init", "--name", "one", "--standalone")
    ended = home.run("memory", "list", **SHOWN)
    assert ended.code == 0
    assert loaded(ended.err) & {"cis.net", "qh3", "cis.gossip", "numpy", "rich", "uvloop"} == set()


def test_a_node_at_rest_has_not_loaded_what_it_seldom_needs(new_home: Callable[[str], Home]) -> None:
    first, second = new_home("one"), new_home("two")
    first.cis("init", "--name", "one")
    second.cis("init", "--name", "two")
    assert first.run("up", "--listen", "127.0.0.1:0", "--detach", **SHOWN).code == 0
    second.cis("join", first.json("invite")["ticket"], "--yes")
    second.up()
    first.wait_status(lambda status: status.connected)
    told = (first.path / "node.log").read_text()
    assert loaded(told) & SELDOM == set()
