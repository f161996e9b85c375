"""The settings of anchors act, are checked, and keep the token to themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from cis.anchor.place import AnchorPlace
from cis.api.configuration.acting import options_of
from cis.api.configuration.settings import describe, load
from cis.api.peers.anchoring import anchors_of, places_of, uses_anchor
from cis.discovery.anchor import AnchorProvider
from cis.errors import UsageError

URL, OTHER = "https://anchor.example.net", "https://other.example.net:8443"


def written(folder: Path, text: str) -> Path:
    (folder / "config.toml").write_text(f"[p2p.cloud_anchor]\n{text}\n")
    return folder


def test_an_anchor_that_is_set_and_enabled_is_used_with_its_token_and_certificates(tmp_path: Path) -> None:
    home = written(tmp_path, f'enabled = true\nendpoint = "{URL}"\ntoken = "secret"\nca_file = "/etc/ca.pem"')
    settings = load(home)
    assert places_of(settings) == (AnchorPlace(URL, "secret", Path("/etc/ca.pem")),)
    options = options_of(settings, home)
    assert [anchor.name for anchor in options.anchors] == ["anchor.example.net"]
    assert [one.name for one in options.providers if isinstance(one, AnchorProvider)] == ["anchor anchor.example.net"]
    assert uses_anchor(home, URL + "/")
    assert not uses_anchor(home, OTHER)


@pytest.mark.parametrize("text", [f'["{URL}", "{OTHER}"]', f'"{URL}, {OTHER}"'])
def test_several_anchors_may_be_set(tmp_path: Path, text: str) -> None:
    settings = load(written(tmp_path, f"enabled = true\nendpoint = {text}\nregister_interval = 30"))
    assert [place.url for place in places_of(settings)] == [URL, OTHER]
    assert [client._interval_s for client in anchors_of(settings)] == [30.0, 30.0]


def test_one_that_is_turned_off_is_used_by_nobody_but_who_names_it(tmp_path: Path) -> None:
    settings = load(written(tmp_path, f'endpoint = "{URL}"\ntoken = "secret"'))
    assert places_of(settings) == ()
    assert places_of(settings, URL) == (AnchorPlace(URL, "secret"),)
    assert places_of(settings, OTHER) == (AnchorPlace(OTHER),)
    with pytest.raises(UsageError):
        places_of(settings, "http://anchor.example.net")


def test_the_environment_sets_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIS_P2P__CLOUD_ANCHOR__ENABLED", "true")
    monkeypatch.setenv("CIS_P2P__CLOUD_ANCHOR__ENDPOINT", URL)
    assert [place.url for place in places_of(load(tmp_path))] == [URL]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("enabled = true", "needs an endpoint"),
        ('endpoint = "http://anchor.example.net"', "not encrypted"),
        ('endpoint = "anchor.example.net"', "write https://"),
        ("register_interval = 1", "register_interval"),
        (f'token = "{"x" * 300}"', "token"),
    ],
)
def test_what_cannot_be_meant_is_told_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as raised:
        load(written(tmp_path, text))
    assert "config.toml:" in str(raised.value)
    assert "xxx" not in str(raised.value)


def test_a_token_is_not_listed(tmp_path: Path) -> None:
    rows = describe(written(tmp_path, 'token = "secret"'))
    assert all("secret" not in f"{row.value} {row.default}" for row in rows)


def test_an_anchor_that_does_not_serve_is_among_the_problems(tmp_path: Path) -> None:
    settings = load(written(tmp_path, f'enabled = true\nendpoint = ["{URL}", "{OTHER}"]'))
    first, second = anchors_of(settings)
    first.problem = "it cannot be reached"
    assert AnchorProvider(first).failures() == {"anchor anchor.example.net": "it cannot be reached"}
    assert AnchorProvider(second).failures() == {}
