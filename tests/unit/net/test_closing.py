"""How reasons are read and said."""

from __future__ import annotations

from cis.errors import Fault, Unavailable
from cis.net.certificate import Certificate
from cis.net.closing import CloseReason, ConnectionLost, clipped, reason_of


def test_a_known_code_is_its_fault() -> None:
    reason = reason_of(13, "later", by_peer=True, transport=False)
    assert reason == CloseReason(Fault.BUSY, "later", by_peer=True, transport=False)


def test_a_code_of_a_newer_version_keeps_its_number() -> None:
    reason = reason_of(9999, "new", by_peer=True, transport=False)
    assert (reason.fault, reason.text) == (Fault.NONE, "code 9999: new")


def test_a_transport_error_is_no_fault_of_the_application() -> None:
    reason = reason_of(13, "x", by_peer=True, transport=True)
    assert (reason.fault, reason.transport) == (Fault.NONE, True)


def test_a_reason_is_cut_between_characters() -> None:
    assert clipped("é" * 150) == "é" * 100
    assert clipped("aé" + "é" * 150) == "aé" + "é" * 98


def test_what_the_peer_wrote_is_escaped_where_it_is_said() -> None:
    lost = ConnectionLost(reason_of(13, "\x1b[31m", by_peer=True, transport=False))
    assert isinstance(lost, Unavailable)
    assert str(lost) == "the connection was closed by the peer: busy ('\\x1b[31m')"


def test_a_certificate_is_fresh_and_hides_its_key() -> None:
    first, second = Certificate.generate(), Certificate.generate()
    assert first.hash != second.hash
    assert "PRIVATE" not in repr(first)
