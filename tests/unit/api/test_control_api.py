"""The control API: its socket, its errors, its document."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cis.api.control.client import connect_daemon
from cis.api.control.control_socket import bind_control, is_same_user
from cis.api.control.openapi import describe
from cis.api.control.protocol import Request, error_of, failure_of, plain, reply_type, status_of
from cis.api.control.server import control_server
from cis.api.http_serving import Asked
from cis.api.memories.memory_schema import SetMemory
from cis.api.operations import REQUESTS
from cis.errors import CisError, Denied, Fault, PeerFault, StoreError, TimedOut, Unavailable, UsageError


@pytest.mark.parametrize("kind", [CisError, UsageError, Denied, Unavailable, TimedOut, StoreError])
def test_an_error_travels_as_what_it_is(kind: type[CisError]) -> None:
    there = error_of(
        msgspec.json.decode(msgspec.json.encode(failure_of(kind("what, why"))), type=type(failure_of(kind(""))))
    )
    assert (type(there), str(there), there.exit_code) == (kind, "what, why", kind.exit_code)
    assert 400 <= status_of(there) < 600


def test_a_peers_refusal_becomes_a_denial() -> None:
    told = plain(PeerFault(Fault.TICKET, "used"))
    assert isinstance(told, Denied)
    assert "used" in str(told)


@pytest.mark.parametrize("request_type", REQUESTS, ids=lambda one: one.path)
def test_every_request_names_its_path_and_reply(request_type: type[Request[Any]]) -> None:
    assert request_type.path.count("/") == 1
    assert reply_type(request_type) is not None
    assert request_type.__doc__


def test_the_document_describes_every_operation() -> None:
    document = describe(REQUESTS)
    assert len(document["paths"]) == len(REQUESTS)
    msgspec.json.encode(document)
    wanted = str(document["paths"]).count("$ref")
    assert wanted >= len(REQUESTS)
    assert "SetMemory" in document["components"]["schemas"]


def test_the_socket_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "home" / "control.sock"
    listening = bind_control(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    with pytest.raises(Unavailable, match="already"):
        bind_control(path)
    listening.close()
    bind_control(path).close()


def test_a_folder_others_may_enter_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    with pytest.raises(Denied, match="chmod 700"):
        bind_control(folder / "control.sock")


def test_the_other_end_is_the_same_user() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert is_same_user(ours)


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="the kernel does not say who connects")
def test_another_user_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    monkeypatch.setattr("cis.api.control.control_socket._PEER_CREDENTIALS", _Credentials(os.getuid() + 1))
    with ours, theirs:
        assert not is_same_user(ours)


class _Credentials:
    """Reads another user out of whatever the kernel says."""

    size = 12

    def __init__(self, user: int) -> None:
        self._user = user

    def unpack(self, _: bytes) -> tuple[int, int, int]:
        return 1, self._user, 1


def test_a_socket_nobody_listens_on_counts_as_no_daemon(tmp_path: Path) -> None:
    assert connect_daemon(tmp_path) is None
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "control.sock"))
    left.close()
    assert connect_daemon(tmp_path) is None


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"key": 5}', b'{"key": "\xff"}', b'{"key": "k", "form": "json", "value": ' + b"[" * 5000],
    ids=["nothing", "list", "number", "no UTF-8", "deep"],
)
async def test_a_body_that_is_no_request_is_the_clients_mistake(body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    server = control_server({SetMemory: lambda _: None})
    answer = await server.answering(Asked("POST", "/v1/memory/set", (), body))
    assert answer.status == status_of(UsageError("")) == 400
    assert not caplog.records
