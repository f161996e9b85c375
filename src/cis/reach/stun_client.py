"""STUN messages in, and one transaction out (RFC 8489): sent until answered, answered only by whom it asked.

aioice writes and reads the messages; what is malformed becomes a `PeerFault`, whatever aioice raised on it. A
transaction repeats sooner than RFC 8489's half a second, since most lost checks were lost to a filter that the
next one finds open, and goes on evenly for about eight seconds, which rides out bursts of loss.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from aioice import stun

from cis.errors import Fault, PeerFault
from cis.reach.names import Address, is_usable, plain

STUN_BYTES_MAX = 1280
_CHANGE_IP = 0x04
_CHANGE_PORT = 0x02
_FIRST_WAIT_S = 0.15
_WAIT_GROWTH = 1.6
_WAIT_MAX_S = 1.0
_SENDS_MAX = 11
_UNSENDABLE_MAX = 3
_NUDGE_GAP_S = 0.02
_NUDGES_MAX = 8


@dataclass(frozen=True, slots=True)
class Reflexive:
    """How a STUN server saw us, and what it says of itself (RFC 5780)."""

    host: str
    port: int
    latency_s: float
    other: Address | None = None
    """OTHER-ADDRESS: where it also listens."""
    origin: Address | None = None
    """RESPONSE-ORIGIN: where the response came from."""


class Unsendable(stun.TransactionError):
    """The machine would not send the request: no route, or a filter of its own."""


def read_message(data: bytes) -> stun.Message:
    """Read a STUN message; `PeerFault` when it is none."""
    if len(data) > STUN_BYTES_MAX:
        raise PeerFault(Fault.TOO_LARGE, f"a STUN message of {len(data)} bytes, over its limit of {STUN_BYTES_MAX}")
    try:
        return stun.parse_message(data)
    except (ValueError, struct.error, LookupError, ArithmeticError) as error:
        raise PeerFault(Fault.MALFORMED, f"a STUN message does not decode: {error}") from error


def binding_request(change: tuple[bool, bool] | None = None) -> stun.Message:
    """Ask "how do you see me?"; ``change`` asks to be answered from another address, another port."""
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    if change is not None:
        ip, port = change
        request.attributes["CHANGE-REQUEST"] = ip * _CHANGE_IP | port * _CHANGE_PORT
    return request


def reflexive_of(response: stun.Message, latency_s: float) -> Reflexive | None:
    """Return what a binding response says, None when it says nothing, or nothing that could be an address of ours."""
    said = response.attributes
    mapped = said.get("XOR-MAPPED-ADDRESS") or said.get("MAPPED-ADDRESS")
    if mapped is None:
        return None
    host, port = plain(mapped[0]), mapped[1]
    if not is_usable(host, port):
        return None
    other = said.get("OTHER-ADDRESS") or said.get("CHANGED-ADDRESS")
    origin = said.get("RESPONSE-ORIGIN") or said.get("SOURCE-ADDRESS")
    return Reflexive(host, port, latency_s, other, origin)


class Transaction:
    """One request on its way; ``send`` returns the error if the machine will not send it."""

    def __init__(
        self,
        request: stun.Message,
        send: Callable[[bytes], OSError | None],
        *,
        key: bytes | None = None,
        answers_from: Address | None = None,
    ) -> None:
        if key is not None:
            request.add_message_integrity(key)
        self.id = request.transaction_id
        self._bytes = bytes(request)
        self._send = send
        self._key = key
        self._answers_from = answers_from
        self._answer: asyncio.Future[tuple[stun.Message, Address]] = asyncio.get_running_loop().create_future()
        self._sent_at = 0.0
        self._nudges = 0
        self.latency_s = 0.0
        """From the last sending to the answer; not by the loop's clock, which uvloop reads once per turn."""

    def on_response(self, message: stun.Message, address: Address) -> None:
        """Take an answer; one without the right integrity, or from elsewhere, is nobody's (RFC 8489 §9.1.4)."""
        if self._answer.done() or (self._answers_from is not None and address != self._answers_from):
            return
        if self._key is not None and not message.check_message_integrity(self._key):
            return
        self.latency_s = time.monotonic() - self._sent_at
        if message.message_class == stun.Class.RESPONSE:
            self._answer.set_result((message, address))
        else:
            self._answer.set_exception(stun.TransactionFailed(message))

    def nudge(self) -> None:
        """Send once more now, since the way has just been seen open; bounded, as others cause it."""
        if not self._answer.done() and self._nudges < _NUDGES_MAX and time.monotonic() - self._sent_at > _NUDGE_GAP_S:
            self._nudges += 1
            self._send_once()

    async def run(self) -> tuple[stun.Message, Address]:
        """Send until answered; raises aioice's TransactionFailed, TransactionTimeout, or `Unsendable`."""
        wait_s = _FIRST_WAIT_S
        refused = 0
        for _ in range(_SENDS_MAX):
            if error := self._send_once():
                refused += 1
                if refused >= _UNSENDABLE_MAX:
                    raise Unsendable(error.strerror)
            await asyncio.wait([self._answer], timeout=wait_s)
            if self._answer.done():
                return self._answer.result()
            wait_s = min(wait_s * _WAIT_GROWTH, _WAIT_MAX_S)
        raise stun.TransactionTimeout

    def _send_once(self) -> OSError | None:
        self._sent_at = time.monotonic()
        return self._send(self._bytes)
