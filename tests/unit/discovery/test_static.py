"""Static peers: how they are written, and that they are told again as names move."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from cis.discovery.address import Source
from cis.discovery.provider import Roaming, Sighting
from cis.discovery.static import StaticPeer, StaticPeers
from cis.errors import UsageError
from cis.model.ids import NodeId, did_of

NODE = NodeId(bytes(range(32)))


class Silent:
    """Announces nothing and recognises nobody."""

    def port(self) -> int:
        return 7677

    def own_tag(self, slot: int) -> bytes | None:
        return None

    def recognise(self, tag: bytes, slot: int) -> NodeId | None:
        return None


async def _sightings(provider: StaticPeers, enough: Callable[[list[Sighting]], bool]) -> list[Sighting]:
    seen: list[Sighting] = []
    done = asyncio.Event()

    def found(sighting: Sighting) -> None:
        seen.append(sighting)
        if enough(seen):
            done.set()

    async with asyncio.timeout(5):
        task = asyncio.TaskGroup()
        async with task:
            running = task.create_task(provider.run(Silent(), found))
            await done.wait()
            running.cancel()
    return seen


@pytest.mark.parametrize(
    ("text", "peer"),
    [
        (f"{did_of(NODE)}@[fd12::1]:80", StaticPeer("fd12::1", 80, node=NODE)),
        ("did:cis:workstation@192.168.1.100:7677", StaticPeer("192.168.1.100", 7677, name="workstation")),
        ("did:cis:server@server.example.net", StaticPeer("server.example.net", 7677, name="server")),
    ],
)
def test_a_peer_is_read_as_written_and_written_as_read(text: str, peer: StaticPeer) -> None:
    assert StaticPeer.parse(text) == peer
    assert StaticPeer.parse(str(peer)) == peer


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "host:7677",
            "@host",
            "did:cis:@host",
            "did:cis:Work Station@host",
            "did:key:z6Mk@host",
            "name@host",
        ),
        *("did:cis:server@", "did:cis:server@host:99999", f"did:cis:{'a' * 33}@host"),
    ],
)
def test_what_is_no_peer_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        StaticPeer.parse(text)


async def test_an_address_is_told_without_resolving_and_a_name_with_all_it_leads_to() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        assert (host, port) == ("home.example.net", 7000)
        return ["192.168.1.5", "2606:4700::1"]

    peers = [StaticPeer("10.0.0.9", 7677, node=NODE), StaticPeer("home.example.net", 7000, name="home")]
    seen = await _sightings(StaticPeers(peers, resolve=resolve), lambda seen: len(seen) >= 3)
    assert set(seen) == {
        Sighting(Source.STATIC, "10.0.0.9", 7677, node=NODE),
        Sighting(Source.STATIC, "192.168.1.5", 7000, name="home"),
        Sighting(Source.STATIC, "2606:4700::1", 7000, name="home"),
    }


async def test_a_name_that_moves_is_found_at_its_new_address() -> None:
    answers: Iterator[list[str] | OSError] = iter([["192.168.1.5"], OSError("away"), ["192.168.1.6"]])

    async def resolve(host: str, port: int) -> list[str]:
        answer = next(answers, ["192.168.1.6"])
        if isinstance(answer, OSError):
            raise answer
        return answer

    provider = StaticPeers([StaticPeer("home", 1, name="home")], interval_s=0, resolve=resolve)
    seen = await _sightings(provider, lambda seen: len(seen) >= 2)
    assert [sighting.host for sighting in seen[:2]] == ["192.168.1.5", "192.168.1.6"]
    assert provider.failures() == {}


async def test_a_name_that_leads_to_a_metadata_service_is_not_told_and_said_to_fail() -> None:

    async def resolve(host: str, port: int) -> list[str]:
        if host == "good":
            return ["10.0.0.1"]
        return ["169.254.169.254"]

    peers = [StaticPeer("bad", 1, name="bad"), StaticPeer("good", 1, name="good")]
    provider = StaticPeers(peers, interval_s=0, resolve=resolve)
    seen = await _sightings(provider, lambda seen: len(seen) >= 2)
    assert {sighting.name for sighting in seen} == {"good"}
    assert list(provider.failures()) == ["did:cis:bad@bad:1"]


async def test_peers_that_take_the_place_of_others_are_told_of_at_once() -> None:
    provider = StaticPeers([])
    asyncio.get_running_loop().call_soon(provider.replace, [StaticPeer.parse("did:cis:peer@192.0.2.7:1")])
    seen = await _sightings(provider, lambda seen: len(seen) >= 1)
    assert [(one.name, one.host) for one in seen] == [("peer", "192.0.2.7")]


async def test_names_are_resolved_again_at_once_when_the_network_is_another() -> None:
    answers: Iterator[list[str]] = iter([["192.168.1.5"], ["10.0.0.5"]])

    async def resolve(host: str, port: int) -> list[str]:
        return next(answers)

    provider = StaticPeers([StaticPeer("home", 1, name="home")], interval_s=3600, resolve=resolve)
    assert isinstance(provider, Roaming)

    def enough(seen: list[Sighting]) -> bool:
        provider.network_changed()
        return len(seen) == 2

    seen = await _sightings(provider, enough)
    assert [sighting.host for sighting in seen] == ["192.168.1.5", "10.0.0.5"]


async def test_a_literal_of_either_family_is_told_and_a_link_local_one_has_to_name_its_interface() -> None:
    texts = ["[fd12::1]", "[fe80::1%eth0]:7000", "[fe80::2]", "192.168.1.5"]
    provider = StaticPeers([StaticPeer.parse(f"did:cis:peer@{text}") for text in texts])
    seen = await _sightings(provider, lambda seen: len(seen) == 3)
    assert [(one.host, one.port) for one in seen] == [("fd12::1", 7677), ("fe80::1%eth0", 7000), ("192.168.1.5", 7677)]
    (reason,) = provider.failures().values()
    assert "with its interface" in reason


async def test_a_name_that_does_not_resolve_is_told_until_it_does() -> None:
    answers: Iterator[list[str] | OSError] = iter([OSError("no such name"), ["10.0.0.5"]])

    async def resolve(host: str, port: int) -> list[str]:
        answer = next(answers)
        if isinstance(answer, OSError):
            told.append(dict(provider.failures()))
            raise answer
        told.append(dict(provider.failures()))
        return answer

    told: list[dict[str, str]] = []
    provider = StaticPeers([StaticPeer("home", 1, name="home")], interval_s=0, resolve=resolve)
    await _sightings(provider, bool)
    assert told == [{}, {"did:cis:home@home:1": "home does not resolve: no such name"}]
    assert provider.failures() == {}
