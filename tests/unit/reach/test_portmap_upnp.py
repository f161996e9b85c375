from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random

import pytest

from cis.reach.portmap.document import DOCUMENT_MAX
from cis.reach.portmap.fetch import fetch
from cis.reach.portmap.gateway import Gateway
from cis.reach.portmap.links import Link, link
from cis.reach.portmap.soap import services_at
from cis.reach.portmap.upnp import Upnp
from cis.reach.portmap.values import LEASE_S, NoAnswer, Refused
from tests.unit.reach.igd import Router, http

OWN = "192.168.1.7"
PORT = 7677


@asynccontextmanager
async def upnp(router: Router) -> AsyncIterator[Upnp]:
    """A client of the router, which the search is taken to have found."""
    async with router.serve() as port:

        async def found(_own: str, gateway: str | None) -> list[Link]:
            assert gateway == "127.0.0.1"
            return [Link("127.0.0.1", port, "/root.xml")]

        yield Upnp(OWN, Gateway("127.0.0.1", OWN), PORT, searching=found, chance=Random(1))


@pytest.mark.parametrize("version", [1, 2])
async def test_the_own_port_is_mapped_for_a_lease_and_removed_again(version: int) -> None:
    router = Router(version)
    async with upnp(router) as client:
        assert await client.probe() == "44.0.0.30"
        assert router.table == {}
        mapping = await client.map(PORT)
        assert (mapping.external, mapping.lease_s) == (("44.0.0.30", PORT), LEASE_S)
        assert router.table == {PORT: (OWN, PORT, LEASE_S)}
        await client.release()
        assert router.table == {}


async def test_a_version_2_router_is_asked_to_choose_and_its_choice_taken() -> None:
    router = Router(2, table={PORT: ("192.168.1.9", PORT, 0)})
    async with upnp(router) as client:
        assert (await client.map(PORT)).port == PORT + 1
        assert "AddAnyPortMapping" in router.calls
        assert router.table[PORT][0] == "192.168.1.9"


async def test_a_renewal_keeps_the_port() -> None:
    router = Router(2)
    async with upnp(router) as client:
        first = await client.map(PORT)
        assert await client.map(first.port) == first
        assert list(router.table) == [first.port]


async def test_a_version_2_router_without_the_new_action_is_asked_as_one_of_version_1() -> None:
    router = Router(2, knows_any=False)
    async with upnp(router) as client:
        assert (await client.map(PORT)).port == PORT
        assert router.calls[-1] == "AddPortMapping"


async def test_a_router_with_permanent_leases_alone_gets_one_which_is_removed() -> None:
    router = Router(permanent_only=True)
    async with upnp(router) as client:
        assert (await client.map(PORT)).lease_s == 0
        assert await client.alive()
        await client.map(PORT)
        assert router.calls.count("AddPortMapping") == 3, "the second time it is asked for what it knows"
        await client.release()
        assert router.table == {}


@pytest.mark.parametrize("theirs", [("192.168.1.9", PORT, 0), (OWN, 22, 0)])
async def test_a_port_that_leads_elsewhere_is_left_alone_and_another_taken(theirs: tuple[str, int, int]) -> None:
    router = Router(table={PORT: theirs})
    async with upnp(router) as client:
        mapping = await client.map(PORT)
        assert mapping.port != PORT
        await client.release()
        assert router.table == {PORT: theirs}


async def test_a_conflict_leads_to_another_port() -> None:
    router = Router(conflicts={PORT})
    async with upnp(router) as client:
        mapping = await client.map(PORT)
        assert list(router.table) == [mapping.port]
        assert mapping.port not in {PORT, 0}


async def test_a_router_with_all_ports_taken_is_a_refusal_after_a_few_tries() -> None:
    router = Router(conflicts=set(range(1 << 16)))
    async with upnp(router) as client:
        with pytest.raises(Refused, match="taken"):
            await client.map(PORT)
        assert router.calls.count("AddPortMapping") < 10


async def test_a_mapping_the_router_lost_or_whose_address_changed_is_not_alive() -> None:
    router = Router()
    async with upnp(router) as client:
        await client.map(PORT)
        assert await client.alive()
        router.external = "44.0.0.31"
        assert not await client.alive()
        assert (await client.map(PORT)).host == "44.0.0.31"
        router.table.clear()
        assert not await client.alive()


async def test_a_router_that_lists_no_entries_is_believed() -> None:
    router = Router(tells_entries=False)
    async with upnp(router) as client:
        await client.map(PORT)
        assert await client.alive()


async def test_what_became_somebody_elses_is_not_removed() -> None:
    router = Router()
    async with upnp(router) as client:
        await client.map(PORT)
        router.table[PORT] = ("192.168.1.9", 80, 0)
        await client.release()
        assert PORT in router.table


async def test_an_outer_address_of_another_nat_is_told_and_not_used() -> None:
    async with upnp(Router(external="100.64.1.2")) as client:
        assert await client.probe() == "100.64.1.2"
        assert (await client.map(PORT)).external == PORT


@pytest.mark.parametrize("external", ["", "0.0.0.0", "router.example", "\x1b[2J", "9" * 5000])
async def test_an_outer_address_that_is_none_is_none(external: str) -> None:
    async with upnp(Router(external=external)) as client:
        with suppress(Refused):
            assert await client.probe() is None
            assert (await client.map(PORT)).external == PORT


@pytest.mark.parametrize(
    "control", ["http://10.0.0.1/x", "http://127.0.0.1:1@10.0.0.1/", "file:///etc/passwd", "http://["]
)
async def test_a_control_url_at_another_host_is_not_followed(control: str) -> None:
    async with upnp(Router(control=control)) as client:
        with pytest.raises(Refused, match="offers no port mapping"):
            await client.probe()


_ENTITIES = "<!DOCTYPE r [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;'>]><root>&b;</root>"
_HOSTILE = {
    "nothing": b"",
    "no HTTP": b"SSH-2.0-x\r\n\r\n",
    "a redirect": b"HTTP/1.1 302 x\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n",
    "no XML": http(200, "hello"),
    "entities": http(200, _ENTITIES),
    "an external entity": http(200, "<!DOCTYPE r [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><r>&a;</r>"),
    "deep": http(200, "<a>" * 5000),
    "wide": http(200, "<a>" + "<b/>" * 5000 + "</a>"),
    "long": http(200, "<a>" + "x" * 200_000 + "</a>"),
    "endless headers": b"HTTP/1.1 200 x\r\nA: " + b"x" * 200_000,
    "a wrong length": b"HTTP/1.1 200 x\r\nContent-Length: 5\r\n\r\n<",
    "a negative length": b"HTTP/1.1 200 x\r\nContent-Length: -5\r\n\r\n<a/>",
    "another protocol": b"HTTP/1.1 101 x\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "an unknown encoding": http(200, "<?xml version='1.0' encoding='nonsense'?><a/>"),
}


@pytest.mark.parametrize("name", _HOSTILE)
async def test_a_hostile_answer_is_a_refusal_and_never_more(name: str) -> None:
    router = Router(answer=lambda _: _HOSTILE[name])
    async with upnp(router) as client:
        with pytest.raises((Refused, NoAnswer)):
            await client.probe()


@pytest.mark.parametrize("name", _HOSTILE)
async def test_a_router_that_turns_hostile_is_a_refusal_and_never_more(name: str) -> None:
    router = Router()
    async with upnp(router) as client:
        await client.map(PORT)
        router.answer = lambda _: _HOSTILE[name]
        for deed in (client.alive, client.release, client.probe):
            with pytest.raises((Refused, NoAnswer)):
                await deed()


async def test_random_damage_to_answers_is_a_refusal_or_a_mapping() -> None:
    chance = Random(5)
    router, damaged = Router(), Router()

    def damage(request: bytes) -> bytes:
        head, _, body = request.partition(b"\r\n\r\n")
        answer = bytearray(router._http(head, body))
        for _ in range(chance.choice((0, 1, 1, 4))):
            at = chance.randrange(len(answer))
            match chance.randrange(3):
                case 0:
                    answer[at] = chance.randrange(256)
                case 1:
                    del answer[at : at + chance.randrange(20)]
                case 2:
                    answer[at:at] = chance.randbytes(chance.randrange(20))
        return bytes(answer)

    damaged.answer = damage
    mapped = 0
    async with upnp(damaged) as client:
        for _ in range(200):
            client._service = None
            try:
                await client.probe()
                mapped += 0 < (await client.map(PORT)).port < 1 << 16
                await client.release()
            except (Refused, NoAnswer):
                continue
    assert mapped


async def test_no_more_is_read_than_a_description_may_have() -> None:
    async with Router(answer=lambda _: b"HTTP/1.1 200 X\r\n\r\n" + b"x" * (DOCUMENT_MAX + 1)).serve() as port:
        with pytest.raises(Refused, match="answer is too long"):
            await fetch(Link("127.0.0.1", port, "/"))


async def test_a_router_that_never_ends_its_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cis.reach.portmap.fetch.TIMEOUT_S", 0.05)
    import asyncio

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(stall, "127.0.0.1", 0) as server:
        where = link(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", "127.0.0.1")
        assert where is not None
        with pytest.raises(NoAnswer, match="too long"):
            await services_at(where)
