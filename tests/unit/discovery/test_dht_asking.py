"""What strangers answer in the DHT: nothing of it raises, and nothing counts that was not sought."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

pytest.importorskip("libtorrent", reason="the DHT needs libtorrent, for which there is no wheel here")

import libtorrent as lt

from cis.discovery.dht.asking import Asker, Found, Item, Sought, _Socket, signed_part
from cis.discovery.dht.lookup import ID_LENGTH, TOLD_MAX, Known

KEY = SigningKey(b"s" * 32)
PUBLIC = bytes(KEY.verify_key)
NODE = Known(b"n" * ID_LENGTH, "127.0.0.1", 6881)

anything = st.recursive(
    st.binary(max_size=60) | st.integers(-(1 << 63), (1 << 63) - 1),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.binary(max_size=8), inner, max_size=3),
    max_leaves=8,
)
replies = st.dictionaries(
    st.sampled_from([b"id", b"nodes", b"nodes6", b"token", b"v", b"k", b"seq", b"sig"]), anything, max_size=8
)


def take(reply: dict[bytes, Any], sought: Sought, *, public: bool = False) -> tuple[list[Known], Found]:
    asker, found = Asker(lt, public=public), Found()
    asker._keep(NODE, reply, sought, found)
    return asker._told(reply, 2), found


@given(reply=replies)
def test_no_reply_raises_and_none_that_is_not_signed_counts(reply: dict[bytes, Any]) -> None:
    for sought in (Sought.mutable(PUBLIC), Sought(b"t" * 20)):
        told, found = take(reply, sought)
        assert found.item is None
        assert len(told) <= TOLD_MAX


@given(raw=st.binary(max_size=3000))
def test_no_datagram_raises(raw: bytes) -> None:
    one = _Socket(lt.bdecode)
    one._asked[b"aaaa", ("127.0.0.1", 1)] = None  # type: ignore[assignment]  # whatever waits there
    one.datagram_received(raw, ("127.0.0.1", 1))
    for ending in (b"", b"e", b"1:t4:aaaae"):
        one.datagram_received(b"d" + raw + ending, ("127.0.0.1", 2))


@given(value=anything, number=st.integers(0, (1 << 63) - 1))
def test_what_is_signed_counts_whatever_it_is_and_under_its_own_number_and_salt_alone(value: Any, number: int) -> None:
    for salt in (b"", b"salt"):
        signature = KEY.sign(signed_part(lt.bencode(value), number, salt)).signature
        reply = {b"v": value, b"seq": number, b"sig": signature}
        assert take(reply, Sought.mutable(PUBLIC, salt))[1].item == Item(value, number)
        assert take(reply, Sought.mutable(PUBLIC, salt + b"x"))[1].item is None
        assert take({**reply, b"seq": number ^ 1}, Sought.mutable(PUBLIC, salt))[1].item is None


def test_an_item_by_its_hash_is_what_has_that_hash() -> None:
    target = bytes.fromhex("e5f96f6f38320f0f33959cb4d3d656452117aadb")  # BEP 44
    assert take({b"v": b"Hello World!"}, Sought(target))[1].item == Item(b"Hello World!")
    assert take({b"v": b"Hello World?"}, Sought(target))[1].item is None


def test_the_newest_is_kept_and_the_first_is_told_once() -> None:
    told: list[int] = []
    found = Found(on_first=lambda: told.append(1))
    for number in (2, 1, 3, 3):
        found.take(Item(b"%d" % number, number))
    assert found.item == Item(b"3", 3)
    assert told == [1]


def test_in_the_public_network_only_addresses_of_the_internet_are_asked() -> None:
    def compact(address: str, port: int) -> bytes:
        return b"i" * 20 + bytes(map(int, address.split("."))) + port.to_bytes(2, "big")

    never = ["127.0.0.1", "169.254.169.254", "224.0.0.1", "0.0.0.0", "255.255.255.255"]
    private = ["10.0.0.1", "192.168.1.1", "100.64.0.1"]
    listed = b"".join(compact(one, 6881) for one in [*never, *private, "93.184.216.34"]) + compact("93.184.216.35", 0)
    told, _ = take({b"nodes": listed}, Sought(b"t" * 20), public=True)
    assert [one.host for one in told] == ["93.184.216.34"]
    told, _ = take({b"nodes": listed}, Sought(b"t" * 20))
    assert {one.host for one in told} == {"127.0.0.1", *private, "93.184.216.34"}
