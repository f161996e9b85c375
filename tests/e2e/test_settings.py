"""``cis config`` with a running node: what is taken up at once, what waits, and what is wrong is said."""

from __future__ import annotations

import os
import signal

import pytest

from tests.e2e.conftest import Home

pytestmark = pytest.mark.timeout(120)


def test_a_running_node_takes_up_what_is_set_and_says_what_waits_or_is_wrong(home: Home) -> None:
    pid = home.up()["pid"]
    told = home.run("config", "set", "p2p.sync.interval", "5", "p2p.listen_port", "7700", "log.level", "node=debug")
    assert (told.code, told.out.splitlines()[0]) == (0, "p2p.sync.interval = 5")
    assert "restart" not in told.err, "the flag of `cis up` decides about the port"
    taken_up = "settings taken up: p2p.sync.interval, log.level"
    home.wait_status(lambda _: taken_up in (home.path / "node.log").read_text())

    told = home.run("config", "set", "p2p.discovery.broadcast_interval", "60")
    assert told.err.startswith("restart to apply: p2p.discovery.broadcast_interval  (cis down; cis up --detach)")
    assert home.status().problems["settings"] == "restart to apply: p2p.discovery.broadcast_interval"

    config = home.path / "config.toml"
    config.write_text(config.read_text().replace("broadcast_interval", "broadcast_intervall"))
    os.kill(pid, signal.SIGHUP)
    home.wait_status(lambda status: "did you mean p2p.discovery.broadcast_interval?" in status.problems["settings"])
    refused = home.run("config", "reload")
    assert (refused.code, f"{config}:" in refused.err) == (2, True)

    home.cis("config", "unset", "p2p.discovery.broadcast_intervall")
    assert home.json("config", "reload")["restart"] == []
    assert "settings" not in home.status().problems
    assert home.status().pid == pid
