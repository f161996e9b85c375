"""The hub hands STUN to whom it belongs, and says nothing to anybody else."""

from __future__ import annotations

from aioice import stun

from cis.reach.stun_client import binding_request
from tests.unit.reach.internet import Host, Internet, introduce

STRANGER = ("192.0.2.66", 666)


def check(host: Host, username: str, key: bytes = b"wrong" * 5, **more: object) -> None:
    """Have a host receive a request from a stranger."""
    request = binding_request()
    request.attributes |= {"USERNAME": username, "PRIORITY": 1, **more}
    request.add_message_integrity(key)
    host._on_datagram(bytes(request), STRANGER)


async def test_strangers_get_no_answer_whatever_they_ask() -> None:
    internet = Internet()
    host = Host(internet)
    host._on_datagram(bytes(binding_request()), STRANGER)
    host._on_datagram(b"\0\1" + bytes(40), STRANGER)
    assert host.malformed == 0, "nobody waits for a request: it is not even read"
    session = host.session(True)
    host._on_datagram(bytes(binding_request()), STRANGER)
    check(host, "nobody:x")
    check(host, f"{session.ufrag}:x")
    check(host, session.ufrag, session.password.encode())
    assert internet.sent == 0
    check(host, f"{session.ufrag}:x", session.password.encode())
    assert internet.sent == 1, "the peer is answered"


async def test_a_closed_session_answers_nothing() -> None:
    internet = Internet()
    host = Host(internet)
    session = host.session(True)
    session.close()
    check(host, f"{session.ufrag}:x", session.password.encode())
    assert internet.sent == 0
    assert not host.hub.searching


async def test_two_sessions_on_one_socket_do_not_meet_each_others_checks() -> None:
    internet = Internet()
    middle, left, right = Host(internet), Host(internet, "full cone"), Host(internet, "symmetric")
    to_left, to_right = middle.session(True), middle.session(False)
    from_left, from_right = left.session(False), right.session(True)
    introduce(to_left, from_left)
    introduce(from_right, to_right)
    paths = [await one.connect() for one in (to_left,)]
    assert paths[0].remote == "srflx"
    assert to_right.selected is None


async def test_requests_that_are_no_checks_are_ignored() -> None:
    internet = Internet()
    host = Host(internet)
    session = host.session(True)
    request = stun.Message(stun.Method.ALLOCATE, stun.Class.REQUEST)
    request.attributes |= {"USERNAME": f"{session.ufrag}:x", "PRIORITY": 1}
    request.add_message_integrity(session.password.encode())
    host._on_datagram(bytes(request), STRANGER)
    incomplete = binding_request()
    incomplete.attributes["USERNAME"] = f"{session.ufrag}:x"
    incomplete.add_message_integrity(session.password.encode())
    host._on_datagram(bytes(incomplete), STRANGER)
    assert (internet.sent, host.malformed) == (0, 0)


async def test_a_response_to_no_request_is_not_even_read() -> None:
    host = Host(Internet())
    host._on_datagram(b"\x01\x01" + b"\xff" * 60, STRANGER)
    assert host.malformed == 0


async def test_addresses_are_spelled_as_the_carrier_writes_them() -> None:
    host = Host(Internet())
    relayed = Host(Internet(), has_relay=True).relay
    assert relayed is not None
    assert host.hub.spell(("192.0.2.1", 9), host.carrier) == ("192.0.2.1", 9)
    host.address = ("::", 7677)
    assert host.hub.spell(("192.0.2.1", 9), host.carrier) == ("::ffff:192.0.2.1", 9, 0, 0)
    assert host.hub.spell(("2001:db8::1", 9), host.carrier) == ("2001:db8::1", 9, 0, 0)
    assert host.hub.spell(("192.0.2.1", 9), relayed) == ("192.0.2.1", 9)
