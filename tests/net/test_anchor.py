"""An anchor over real sockets on loopback: nodes register, find each other, come back, and strangers get nowhere."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from aioice import stun
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from cis.anchor import client as client_module
from cis.anchor import doorway
from cis.anchor import line as line_module
from cis.anchor.attendance import CLOSE_CODE
from cis.anchor.client import AnchorClient
from cis.anchor.limits import AnchorLimits
from cis.anchor.line import open_line
from cis.anchor.place import AnchorPlace
from cis.anchor.protocol import (
    ANSWER_BYTES_MAX,
    REQUEST_BYTES_MAX,
    Done,
    Found,
    Hello,
    LookUp,
    Posted,
    Refused,
    Welcome,
    decode_to_anchor,
    decode_to_node,
    encode,
)
from cis.anchor.serving import AnchorOptions, read_tokens
from cis.discovery.anchor import AnchorProvider
from cis.errors import Denied, Unavailable, UsageError
from cis.node.home.local import LocalNode
from cis.trust.beacons import Beacon, beacon_slot, beacon_tag, open_record, seal_record
from cis.trust.identity import Identity
from tests.net.anchors import anchored, brittle, certificate, serving
from tests.net.cluster import cluster, put, running, until, value

pytestmark = pytest.mark.timeout(60)
KEY = b"k" * 32
TOKEN = "a-token-of-some-length"


class Member:
    """What a node shows, and what it has found and heard."""

    def __init__(self) -> None:
        self.identity = Identity.generate(os.urandom)
        self.others: list[Member] = []
        self.record = b"record"
        self.found: list[bytes] = []
        self.heard: list[bytes] = []

    def own(self) -> list[Beacon]:
        now = beacon_slot(time.time())
        return [Beacon(self.identity, KEY, slot) for slot in (now, now - 1, now + 1)]

    def sealed(self, beacon: Beacon) -> bytes:
        return seal_record(KEY, beacon.tag, self.record, bytes)

    async def sought(self) -> list[bytes]:
        return [other.tag for other in self.others]

    @property
    def tag(self) -> bytes:
        tag = beacon_tag(KEY, beacon_slot(time.time()), self.identity.node)
        assert tag is not None
        return tag

    def on_found(self, tag: bytes, sealed: bytes) -> None:
        self.found.append(open_record(KEY, tag, sealed))


@asynccontextmanager
async def attending(member: Member, place: AnchorPlace, *, interval_s: float = 300.0) -> AsyncIterator[AnchorClient]:
    client = AnchorClient(place, register_interval_s=interval_s)
    client.on_message = member.heard.append
    async with asyncio.TaskGroup() as group:
        task = group.create_task(client.run(member, member.on_found))
        try:
            yield client
        finally:
            task.cancel()


async def test_a_member_is_found_and_heard_by_another_over_tls_whose_certificate_is_verified(tmp_path: Path) -> None:
    pem, key = certificate(tmp_path)
    one, two = Member(), Member()
    two.others = [one]
    async with anchored(tls_certificate=pem, tls_key=key) as url:
        assert url.startswith("https://")
        trusting = AnchorPlace(url, ca_file=pem)
        async with attending(one, trusting) as first:
            await until(lambda: first.up)
            async with attending(two, trusting) as second, attending(Member(), AnchorPlace(url)) as wary:
                await until(lambda: second.up and wary.problem)
                assert two.found == [b"record"]
                assert await second.post(one.tag, b"offer")
                assert not await second.post(b"t" * 16, b"offer")
                await until(lambda: one.heard == [b"offer"])
                assert not wary.up
                assert "certificate" in str(wary.problem)


async def test_an_anchor_that_died_is_found_again_with_what_it_kept_or_what_its_clients_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "PAUSE_S_MIN", 0.05)
    one, two = Member(), Member()
    two.others = [one]
    port = _free_port()
    place = AnchorPlace(f"http://127.0.0.1:{port}")
    async with attending(one, place) as client:
        async with anchored(port=port, database=tmp_path / "anchor.db"):
            await until(lambda: client.up)
        await until(lambda: not client.up and client.problem)
        async with anchored(port=port), attending(two, place) as other:
            await until(lambda: client.up and other.up)
            assert client.problem is None
            if not two.found:  # the second was quicker to come
                other.renew()
            async with open_line(place) as line:
                found = await line.ask(LookUp(line.next_number(), (one.tag,)))
            assert [open_record(KEY, *record) for record in found.records] == [b"record"]
    async with anchored(database=tmp_path / "anchor.db") as url, open_line(AnchorPlace(url)) as line:
        found = await line.ask(LookUp(line.next_number(), (one.tag,)))
        assert [open_record(KEY, *record) for record in found.records] == [b"record"]


async def test_a_line_that_has_gone_dead_is_replaced_as_soon_as_there_is_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PROOF_S", 0.1)
    member = Member()
    async with anchored() as url, brittle(url) as (front, freeze), attending(member, AnchorPlace(front)) as client:
        await until(lambda: client.up)
        line = client._line
        client.doubt()
        await until(lambda: not client._doubted.is_set())
        assert client._line is line, "it answered"
        freeze()
        client.doubt()
        await until(lambda: client.up and client._line is not line)


async def test_what_changes_is_registered_at_once_when_asked_and_in_intervals() -> None:
    one = Member()
    async with anchored() as url, attending(one, AnchorPlace(url)) as client, open_line(AnchorPlace(url)) as line:
        await until(lambda: client.up)
        one.record = b"moved"
        client.renew()

        async def told() -> bytes:
            found = await line.ask(LookUp(line.next_number(), (one.tag,)))
            return open_record(KEY, *found.records[0])

        async with asyncio.timeout(10):
            while await told() != b"moved":
                await asyncio.sleep(0)


async def test_an_anchor_that_is_not_there_is_a_problem_told_and_nothing_waits_for_it() -> None:
    member = Member()
    began = time.monotonic()
    async with (
        attending(member, AnchorPlace("https://no-such-anchor.invalid")) as nowhere,
        attending(member, AnchorPlace(f"http://127.0.0.1:{_free_port()}")) as closed,
    ):
        assert not await nowhere.post(member.tag, b"offer")
        await until(lambda: nowhere.problem and closed.problem)
        assert "no-such-anchor.invalid cannot be reached" in str(nowhere.problem)
    assert time.monotonic() - began < 15


async def test_a_name_that_is_none_and_a_proxy_nothing_here_speaks_are_problems_told_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def problem(url: str) -> str:
        async with attending(Member(), AnchorPlace(url)) as client:
            await until(lambda: client.problem)
            return str(client.problem)

    assert "cannot be reached" in await problem(f"https://{'a' * 70}.invalid")
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1")
    assert "cannot be reached" in await problem("https://anchor.invalid")


@pytest.mark.parametrize(
    "says",
    [
        [],
        ["text"],
        [b"\xff"],
        [bytes(ANSWER_BYTES_MAX + 1)],
        [encode(Done(1))],
        [encode(Refused(0, "go away"))],
        [encode(Welcome(b"c" * 32, 0)), b"junk"],
        [encode(Welcome(b"c" * 32, 0)), *[encode(Posted(b"t" * 16, bytes(8000)))] * 200],
        [encode(Welcome(b"c" * 32, 0)), *[encode(Done(number)) for number in range(5)]],
    ],
)
async def test_whatever_an_anchor_says_a_node_is_left_with_a_problem_at_most(
    says: list[str | bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_module, "ANSWER_S", 0.3)

    async def talk(websocket: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            for one in says:
                await websocket.send(one)
            async for _ in websocket:
                pass

    member = Member()
    member.others = [Member()]
    async with serve(talk, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with attending(member, AnchorPlace(f"http://127.0.0.1:{port}")) as client:
            await until(lambda: client.problem)
            assert not await client.post(b"t" * 16, b"offer")
    assert (member.found, member.heard) == ([], [])


async def test_what_an_anchor_tells_of_tags_nobody_asked_for_is_not_taken() -> None:
    member, sealed = Member(), seal_record(KEY, b"t" * 16, b"record", bytes)
    member.others = [Member()]

    async def lie(websocket: ServerConnection) -> None:
        async for data in websocket:
            match decode_to_anchor(bytes(data)):
                case Hello():
                    await websocket.send(encode(Welcome(b"c" * 32, 0)))
                case LookUp(number):
                    await websocket.send(encode(Found(number, ((b"t" * 16, sealed),))))
                    for tag in (b"t" * 16, member.tag):
                        await websocket.send(encode(Posted(tag, tag)))
                case request:
                    await websocket.send(encode(Done(request.number)))

    async with serve(lie, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with attending(member, AnchorPlace(f"http://127.0.0.1:{port}")) as client:
            await until(lambda: client.up and member.heard)
    assert (member.found, member.heard) == ([], [member.tag])


async def test_nodes_of_a_cluster_find_each_other_by_nothing_but_the_anchor(tmp_path: Path) -> None:
    first, second = await cluster(tmp_path, "first", "second")
    async with anchored() as url:

        def options(folder: LocalNode) -> dict[str, object]:
            client = AnchorClient(AnchorPlace(url))
            return {"providers": (AnchorProvider(client, allow_loopback=True),), "anchors": (client,)}

        _forget_peers(first, second)
        async with running(first, **options(first)), running(second, **options(second)):
            await put(first, "editor", b"dark")
            await until(lambda: value(second, "editor") == b"dark")
    first.close()
    second.close()


async def test_a_token_is_asked_for_and_a_wrong_one_is_a_problem_told(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# for the family\n{TOKEN}\n")
    member = Member()
    async with anchored(tokens=read_tokens(file)) as url:
        async with attending(member, AnchorPlace(url, TOKEN)) as client:
            await until(lambda: client.up)
        with pytest.raises(Denied, match="access token"):
            async with open_line(AnchorPlace(url, "another")):
                pass
    file.write_text("short\n")
    with pytest.raises(UsageError, match="16 characters"):
        read_tokens(file)


async def test_health_is_told_to_all_and_counts_to_this_machine_and_to_who_has_a_token() -> None:
    async with anchored(proxies=("127.0.0.1",), tokens=(TOKEN,)) as url:
        assert (await _get(url, "/healthz"))[0] == 200
        status, text = await _get(url, "/metrics")
        assert status == 200
        assert "cis_anchor_connections 0" in text
        afar = {"X-Forwarded-For": "203.0.113.7"}
        assert (await _get(url, "/healthz", **afar))[0] == 200
        assert (await _get(url, "/metrics", **afar))[0] == 403
        assert (await _get(url, "/metrics", **afar, Authorization="Bearer wrong"))[0] == 403
        assert (await _get(url, "/metrics", **afar, Authorization=f"Bearer {TOKEN}"))[0] == 200
        for _ in range(AnchorLimits().tokens_refused_per_minute):
            await _get(url, "/metrics", **afar, Authorization="Bearer wrong")
        guessed = await _get(url, "/metrics", **afar, Authorization=f"Bearer {TOKEN}")
        assert guessed[0] == 403, "who guesses learns no more, right or wrong"


async def test_limits_are_of_whom_a_proxy_names_and_of_nobody_else() -> None:
    limits = msgspec.structs.replace(AnchorLimits(), connections_per_address=1)

    async def opened(url: str, *hosts: str) -> list[bool]:
        lines, found = [], []
        for host in hosts:
            try:
                lines.append(await connect(f"ws{url[4:]}/v1", additional_headers={"X-Forwarded-For": host}))
                found.append(True)
            except InvalidStatus as error:
                found.append(error.response.status_code != 429)
        for line in lines:
            await line.close()
        return found

    async with anchored(proxies=("127.0.0.1",), limits=limits) as url:
        assert await opened(url, "203.0.113.1", "203.0.113.2", "203.0.113.1") == [True, True, False]
    for nobody_here in ((), ("192.0.2.1",)):
        async with anchored(proxies=nobody_here, limits=limits) as url:
            assert await opened(url, "203.0.113.1", "203.0.113.2") == [True, False]
    if socket.has_dualstack_ipv6():  # where the proxy's address is spelt ::ffff:127.0.0.1
        async with anchored(host="::", proxies=("127.0.0.1",), limits=limits) as dual:
            url = f"http://127.0.0.1:{urlsplit(dual).port}"
            assert await opened(url, "203.0.113.1", "203.0.113.2", "203.0.113.1") == [True, True, False]


@pytest.mark.parametrize("said", [b"\xff" * 10, "text", bytes(REQUEST_BYTES_MAX + 1), None])
async def test_who_says_nothing_sound_is_parted_with(said: bytes | str | None) -> None:
    limits = msgspec.structs.replace(AnchorLimits(), hello_s=0.2)
    async with anchored(limits=limits) as url, connect(f"ws{url[4:]}/v1") as websocket:
        if said is not None:
            await websocket.send(said)
        with suppress(ConnectionClosed):
            async with asyncio.timeout(5):
                while isinstance(decode_to_node(await websocket.recv()), Refused):
                    pass
        assert websocket.close_code in {1009, CLOSE_CODE}


async def test_who_connects_and_asks_for_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorway, "REQUEST_S", 0.2)
    async with anchored() as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        writer.write(b"GET /v1 HTTP/1.1\r\n")
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()


_ASKS = b"GET /healthz HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    "said",
    [_ASKS + b"Transfer-Encoding: chunked\r\n\r\nno size\r\n", _ASKS + b"\r\n" + b"\xff\xff\r\n\r\n", b"\xff\r\n\r\n"],
    ids=["a body", "a second request", "a request"],
)
async def test_what_breaks_off_in_the_middle_is_a_strangers_mistake_and_no_traceback(
    said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with anchored() as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        writer.write(said)
        async with asyncio.timeout(20):
            assert b" 400 " in await reader.read()
        writer.close()
    assert not [record for record in caplog.records if record.exc_info]


async def test_the_name_an_anchor_was_given_is_what_claims_are_made_for() -> None:
    """So no other anchor can draw a claim for this one out of a node, whatever it says of itself."""
    member = Member()
    async with anchored(name="anchor.example.net") as url, attending(member, AnchorPlace(url)) as client:
        await until(lambda: client.problem)
        assert "another name" in str(client.problem)


async def test_nothing_at_info_says_who_came_or_for_what(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    one, two = Member(), Member()
    two.others = [one]
    async with anchored() as url, attending(one, AnchorPlace(url)) as first, attending(two, AnchorPlace(url)) as second:
        await until(lambda: first.up and second.up)
        assert await second.post(one.tag, b"offer")
    said = "\n".join(record.getMessage() for record in caplog.records if record.name != "asyncio")
    assert one.tag.hex() not in said
    assert "127.0.0.1:" not in said.replace(f"127.0.0.1:{urlsplit(url).port}", "")


async def test_stun_tells_where_a_datagram_came_from() -> None:
    async with serving(stun_port=0) as found:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.bind(("127.0.0.1", 0))
            loop = asyncio.get_running_loop()
            request = bytes(stun.Message(stun.Method.BINDING, stun.Class.REQUEST))
            await loop.sock_sendto(client, request, ("127.0.0.1", found.stun_port))
            async with asyncio.timeout(5):
                answer = stun.parse_message(await loop.sock_recv(client, 1500))
            assert answer.attributes["XOR-MAPPED-ADDRESS"] == client.getsockname()
        async with open_line(AnchorPlace(found.url)) as line:
            assert line.stun_port == found.stun_port


@pytest.mark.parametrize(
    "options",
    [
        {"host": "0.0.0.0"},
        {"host": "::"},
        {"host": "192.168.1.7"},
        {"tls_certificate": Path("only.pem")},
        {"proxies": ("proxy.example.net",)},
    ],
)
def test_plain_http_for_others_must_be_asked_for(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        AnchorOptions(**options).checked()
    if "host" in options:
        assert AnchorOptions(**options, insecure=True).checked()
        assert AnchorOptions(**options, proxies=("127.0.0.1",)).checked()


async def test_a_port_that_is_taken_and_a_certificate_that_is_none_are_told(tmp_path: Path) -> None:
    async with anchored() as url:
        with pytest.raises(ExceptionGroup) as raised:
            async with anchored(port=urlsplit(url).port):
                pass
        assert raised.group_contains(Unavailable, match="cannot listen")
    (tmp_path / "x.pem").write_text("no certificate")
    with pytest.raises(ExceptionGroup) as raised:
        async with anchored(tls_certificate=tmp_path / "x.pem", tls_key=tmp_path / "x.pem"):
            pass
    assert raised.group_contains(UsageError, match="certificate")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def _forget_peers(*nodes: LocalNode) -> None:
    for node in nodes:
        for file in node.home.folder.glob("peers*"):
            file.unlink()


async def _get(url: str, path: str, **headers: str) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: x",
        "Connection: close",
        *(f"{name}: {one}" for name, one in headers.items()),
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    async with asyncio.timeout(5):
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    return int(head.split()[1]), body
