from __future__ import annotations

import pytest

from cis.errors import Fault, UsageError
from cis.trust.invites import TICKET_CHARACTERS_MAX, Invitation, Ticket, parse_ticket, redeem, ticket_id
from cis.wire.membership import Role
from tests.unit.trust.cluster import NOW_MS, entropy, identity

HOUR_MS = 3_600_000
ANA, BOB, CAROL = identity(1), identity(2), identity(3)
TICKET = Ticket(
    bytes(range(32)),
    ANA.node,
    (("192.168.1.10", 7677), ("2001:db8::1", 7677), ("home.example.org", 65535)),
    bytes([9]) * 32,
    NOW_MS + HOUR_MS,
)


def invitation() -> Invitation:
    return Invitation.generate(Role.WRITER, (), None, NOW_MS + HOUR_MS, entropy(4))


def test_a_ticket_is_read_as_it_was_written() -> None:
    text = TICKET.to_text()
    assert text.startswith("cis1")
    assert text.isalnum()
    assert len(text) <= TICKET_CHARACTERS_MAX
    assert parse_ticket(text, NOW_MS) == TICKET


def test_a_ticket_survives_capitals_and_line_breaks() -> None:
    text = TICKET.to_text()
    broken = "\n".join(text[start : start + 40] for start in range(0, len(text), 40))
    assert parse_ticket(f"  {broken.upper()}\n") == TICKET


def test_a_ticket_with_more_addresses_than_fit_keeps_the_first() -> None:
    addresses = tuple((f"2001:db8:1111:2222:3333:4444:5555:{last}", 7677) for last in range(8))
    text = Ticket(TICKET.cluster, ANA.node, addresses, TICKET.secret, TICKET.expires_ms).to_text()
    assert len(text) <= TICKET_CHARACTERS_MAX
    kept = parse_ticket(text).addresses
    assert 4 <= len(kept) < 8
    assert kept == addresses[: len(kept)]


def test_a_ticket_without_addresses_is_one() -> None:
    ticket = Ticket(TICKET.cluster, ANA.node, (), TICKET.secret, TICKET.expires_ms)
    assert parse_ticket(ticket.to_text()) == ticket


def test_every_mistyped_character_is_noticed() -> None:
    text = TICKET.to_text()
    for place in range(len(text)):
        for wrong in "a7z":
            if text[place] == wrong:
                continue
            with pytest.raises(UsageError):
                parse_ticket(text[:place] + wrong + text[place + 1 :])


def test_a_ticket_cut_short_or_continued_is_noticed_wherever() -> None:
    text = TICKET.to_text()
    for length in range(len(text)):
        with pytest.raises(UsageError):
            parse_ticket(text[:length])
    for more in ("a", "aaaaaaaa", "!", "=", "cis1"):
        with pytest.raises(UsageError):
            parse_ticket(text + more)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a ticket"),
        ("hello there", "not a ticket"),
        (TICKET.to_text()[:100], "cut short"),
        (TICKET.to_text()[:-9], "cut short"),
        (TICKET.to_text()[:40] + "1" + TICKET.to_text()[41:], "mistyped"),
        ("cis1" + "a" * 500, "at most 400"),
    ],
)
def test_the_error_says_what_is_wrong_with_it(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_ticket(text)


def test_an_expired_ticket_says_when_and_what_to_do() -> None:
    with pytest.raises(UsageError, match="expired 5 min ago: ask for a new one"):
        parse_ticket(TICKET.to_text(), TICKET.expires_ms + 5 * 60_000)


def test_a_host_as_long_as_may_be_is_taken() -> None:
    long = Ticket(TICKET.cluster, ANA.node, (("x" * 128, 1),), TICKET.secret, 0)
    assert parse_ticket(long.to_text()).addresses == (("x" * 128, 1),)


@pytest.mark.parametrize("host", ["", "a b", "\x1b[2J", "x" * 129, "exämple"])
def test_a_host_that_is_none_is_refused(host: str) -> None:
    with pytest.raises(UsageError, match="neither"):
        Ticket(TICKET.cluster, ANA.node, ((host, 1),), TICKET.secret, 0).to_text()


def test_the_id_of_a_ticket_is_that_of_its_invitation_and_not_the_secret() -> None:
    made = invitation()
    assert made.id == ticket_id(made.secret)
    assert made.id not in made.secret


def test_a_ticket_is_good_for_one_node() -> None:
    redeemed = redeem(invitation(), BOB.node, NOW_MS)
    assert isinstance(redeemed, Invitation)
    assert redeemed.redeemed_by == BOB.node
    assert redeem(redeemed, CAROL.node, NOW_MS) is Fault.TICKET


def test_the_node_that_redeemed_it_may_ask_again_even_late() -> None:
    redeemed = redeem(invitation(), BOB.node, NOW_MS)
    assert isinstance(redeemed, Invitation)
    assert redeem(redeemed, BOB.node, NOW_MS + 2 * HOUR_MS) == redeemed


def test_an_expired_ticket_admits_no_one() -> None:
    assert redeem(invitation(), BOB.node, NOW_MS + HOUR_MS) is Fault.TICKET
    assert not invitation().live(NOW_MS + HOUR_MS)
    assert invitation().live(NOW_MS + HOUR_MS - 1)
