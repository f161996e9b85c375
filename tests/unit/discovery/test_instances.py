"""What nodes say by mDNS round-trips, and what anybody else says harms nobody."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from cis.discovery.instances import (
    ADDRESSES_MAX,
    DATAGRAM_MAX,
    INSTANCES_PER_DATAGRAM_MAX,
    Instance,
    Said,
    announcement,
    goodbye,
    question,
    read,
)

SERVICE = "_cis._udp.local."
ONE = Instance(f"{'ab' * 16}.{SERVICE}", bytes(range(16)), 7677, ("192.168.1.7", "fd00::7", "fe80::7"), 120)


def test_an_announcement_says_all_in_one_datagram() -> None:
    datagram = announcement(SERVICE, ONE)
    assert read(datagram, SERVICE) == Said(instances=(ONE,))
    assert len(datagram) < 300


def test_a_question_says_which_instance_its_asker_knows() -> None:
    assert read(question(SERVICE, None), SERVICE) == Said(asked=(SERVICE,))
    assert read(question(SERVICE, ONE), SERVICE) == Said(asked=(SERVICE,), known=(ONE.name,))


def test_a_goodbye_takes_an_instance_back() -> None:
    assert read(goodbye(SERVICE, ONE.name), SERVICE) == Said(gone=(ONE.name,))


def test_other_services_are_not_looked_at() -> None:
    assert read(announcement("_other._udp.local.", ONE), SERVICE) == Said()


def test_an_instance_with_a_part_missing_or_wrong_counts_and_is_nothing() -> None:
    for wrong in (Instance(ONE.name, b"short", 7677, ONE.hosts, 120), Instance(ONE.name, ONE.tag, 0, ONE.hosts, 120)):
        assert read(announcement(SERVICE, wrong), SERVICE) == Said(malformed=1)


def test_so_many_addresses_and_instances_are_taken_and_no_more() -> None:
    many = Instance(ONE.name, ONE.tag, 1, tuple(f"10.0.0.{number}" for number in range(1, 60)), 120)
    (taken,) = read(announcement(SERVICE, many), SERVICE).instances
    assert len(taken.hosts) == ADDRESSES_MAX
    pointers = b"".join(goodbye(SERVICE, f"{number}.{SERVICE}")[12:] for number in range(60))
    said = read(b"\0\0\x84\0\0\0\0\x3c\0\0\0\0" + pointers, SERVICE)
    assert len(said.gone) <= INSTANCES_PER_DATAGRAM_MAX


@given(st.binary(max_size=600), st.booleans())
def test_no_bytes_are_more_than_malformed(data: bytes, named: bool) -> None:
    read(data + (b"\x04_cis\x04_udp\x05local\0" if named else b""), SERVICE)


@given(st.integers(0, 1 << 32), st.integers(1, 12))
def test_no_damage_to_an_announcement_is_more_than_that(seed: int, hits: int) -> None:
    rng, datagram = Random(seed), bytearray(announcement(SERVICE, ONE))
    for _ in range(hits):
        datagram[rng.randrange(len(datagram))] = rng.randrange(256)
    said = read(bytes(datagram[: rng.randrange(len(datagram) + 1)]), SERVICE)
    assert all(0 < one.port < 65536 and len(one.tag) == 16 for one in said.instances)


def test_what_is_larger_than_a_datagram_of_mdns_is_not_read() -> None:
    assert read(announcement(SERVICE, ONE) + bytes(DATAGRAM_MAX), SERVICE) == Said()
