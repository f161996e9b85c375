"""``cis config`` in one process: what is written, what is refused, and what stays in the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cis.apps.cli.main import run

Cis = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cis:
    monkeypatch.setenv("CIS_HOME", str(tmp_path))

    def call(*words: str) -> tuple[int, str, str]:
        code = run(list(words))
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


NIGHT = "# mine\n[p2p.bandwidth.off_peak] # by night\nstart = '01:00' # late\nend = '06:00'\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["unset", "p2p.bandwidth.off_peak.end"], "off_peak needs both start and end"),
        (["set", "log.format", "json", "p2p.listen_port"], "p2p.listen_port has no value"),
        (["set", "log.format", "json", "log.levle", "debug"], "did you mean log.level?"),
        (["set", "log.format", "json", "log.level", "loud"], "log.level = 'loud': 'loud' is no level"),
        (["set", "log.format", "json", "p2p.bandwidth.off_peak.end", "01:00"], "the same time"),
        (["unset", "log.format"], "does not stand in"),
        (["unset", "p2p.bandwidth.off_peak.end", "log.format"], "does not stand in"),
    ],
)
def test_settings_are_written_all_or_none(cis: Cis, tmp_path: Path, words: list[str], says: str) -> None:
    (tmp_path / "config.toml").write_text(NIGHT)
    code, _, err = cis("config", *words)
    assert code == 2
    assert says in err
    assert (tmp_path / "config.toml").read_text() == NIGHT


def test_comments_and_order_stay(cis: Cis, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(NIGHT)
    code, out, _ = cis("config", "set", "p2p.bandwidth.off_peak.start", "02:00", "log.format", "json")
    assert (code, out) == (0, "p2p.bandwidth.off_peak.start = 02:00\nlog.format = json\n")
    written = (tmp_path / "config.toml").read_text()
    assert written.startswith(NIGHT.replace("'01:00'", '"02:00"'))
    assert cis("config", "unset", "log.format") == (0, "log.format = auto\n", "")
    assert "# late" in (tmp_path / "config.toml").read_text()


def test_a_file_that_does_not_load_is_mended_by_what_is_set_and_unset(cis: Cis, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[p2p]\nlisten_prot = 1\n[p2p.sync]\ninterval = 'often' # mine\n")
    assert cis("config", "set", "p2p.sync.interval", "5")[0] == 2, "the other mistake is still there"
    assert cis("config", "unset", "p2p.sync.interval", "p2p.listen_prot")[:2] == (0, "p2p.sync.interval = 60\n")
    (tmp_path / "config.toml").write_text("[p2p.sync]\ninterval = 'often' # mine\n")
    assert cis("config", "set", "p2p.sync.interval", "5") == (0, "p2p.sync.interval = 5\n", "")
    assert (tmp_path / "config.toml").read_text() == "[p2p.sync]\ninterval = 5 # mine\n"


def test_who_sets_what_the_environment_decides_is_told(cis: Cis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIS_LOG", "node=debug")
    code, out, err = cis("config", "set", "log.level", "warning")
    assert (code, out) == (0, "log.level = node=debug\n")
    assert err == "environment CIS_LOG decides about it, whatever the file says\n"


def test_a_profile_is_a_file_that_loads(cis: Cis, tmp_path: Path) -> None:
    code, out, _ = cis("config", "sample", "--profile", "home")
    assert code == 0
    (tmp_path / "config.toml").write_text(out)
    assert cis("config", "get", "p2p.nat.enable_upnp")[1] == "true\n"
    code, _, err = cis("config", "sample", "--profile", "palace")
    assert (code, "anchors-only" in err) == (2, True)


def test_only_a_running_node_can_be_told_to_reload(cis: Cis) -> None:
    assert cis("init", "--name", "solo")[0] == 0
    code, _, err = cis("config", "reload")
    assert (code, "cis up" in err) == (3, True)
