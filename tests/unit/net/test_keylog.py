"""TLS keys are written down only where that was asked for twice, and for their owner alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from cis.errors import Denied, UsageError
from cis.net import Certificate, Endpoint
from cis.net.keylog import DEBUG, KEYS, open_keylog


def test_nothing_is_written_unless_it_is_asked_for(tmp_path: Path) -> None:
    assert open_keylog({}) is None
    assert open_keylog({"SSLKEYLOGFILE": str(tmp_path / "keys")}) is None
    assert open_keylog({DEBUG: "1"}) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("debug", [{}, {DEBUG: ""}, {DEBUG: "0"}, {DEBUG: "true"}])
def test_one_variable_alone_is_refused(tmp_path: Path, debug: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=f"{DEBUG}=1 too"):
        open_keylog({KEYS: str(tmp_path / "keys"), **debug})
    assert list(tmp_path.iterdir()) == []


async def test_an_endpoint_does_not_open_where_one_alone_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEYS, str(tmp_path / "keys"))
    with pytest.raises(UsageError):
        await Endpoint.open("127.0.0.1", 0, Certificate.generate(), on_connection=lambda _: None)


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    with open_keylog({DEBUG: "1", KEYS: str(path)}) as file:
        file.write("x\n")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    with pytest.raises(Denied, match="chmod 600"):
        open_keylog({DEBUG: "1", KEYS: str(path)})
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(UsageError, match="cannot be written"):
        open_keylog({DEBUG: "1", KEYS: str(link)})
