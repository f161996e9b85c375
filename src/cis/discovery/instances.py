"""What nodes say of themselves by mDNS: one datagram each, with all that others need to dial them (RFC 6763).

An instance is announced whole, its pointer, port, tag and addresses together, so nothing that was heard is kept to wait
for the rest, and nobody has to be asked for it. What others say is read within limits and means nothing yet::

    said = read(datagram, "_cis._udp.local.")
    said.asked           # whether somebody wants to hear us: names of what was asked for
    said.instances       # who announces what
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from zeroconf import DNSAddress, DNSIncoming, DNSOutgoing, DNSPointer, DNSQuestion, DNSRecord, DNSService, DNSText

from cis.discovery.provider import TAG_LENGTH

TAG_KEY = b"t"
DATAGRAM_MAX = 1500
"""A node says all in a few hundred bytes; of what is longer only reading it would cost much."""
INSTANCES_PER_DATAGRAM_MAX = 16
ADDRESSES_MAX = 16
_A, _PTR, _TXT, _AAAA, _SRV, _ANY = 1, 12, 16, 28, 33, 255
_IN, _FLUSH = 1, 0x8000
"""The class, and the bit that says that a record takes the place of all of its kind (RFC 6762 §10.2)."""
_QUERY, _RESPONSE = 0, 0x8400


@dataclass(frozen=True, slots=True)
class Instance:
    """A node as it shows itself on one network; ``name`` is random, and so is ``tag`` to strangers."""

    name: str
    tag: bytes
    port: int
    hosts: tuple[str, ...]
    ttl_s: int


@dataclass(frozen=True, slots=True)
class Said:
    """What one datagram says about a service; ``known`` are instances that who asks has heard of already."""

    asked: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    instances: tuple[Instance, ...] = ()
    gone: tuple[str, ...] = ()
    malformed: int = 0


_NOTHING = Said()


def question(service: str, own: Instance | None) -> bytes:
    """Return the datagram that asks who is there; the answers are for everybody to hear.

    Who asks knows its own instance, which says so: it hears itself, and is not to answer (RFC 6762 §7.1).
    """
    out = DNSOutgoing(_QUERY)
    out.add_question(DNSQuestion(service, _PTR, _IN))
    if own is not None:
        out.add_answer_at_time(DNSPointer(service, _PTR, _IN, own.ttl_s, own.name), 0)
    return out.packets()[0]


def announcement(service: str, one: Instance) -> bytes:
    """Return the datagram that shows an instance."""
    server = f"{one.name.partition('.')[0]}.local."
    unique = _IN | _FLUSH
    records: list[DNSRecord] = [
        DNSPointer(service, _PTR, _IN, one.ttl_s, one.name),
        DNSService(one.name, _SRV, unique, one.ttl_s, 0, 0, one.port, server),
        DNSText(one.name, _TXT, unique, one.ttl_s, _text(one.tag)),
    ]
    for host in one.hosts:
        packed = ipaddress.ip_address(host).packed
        records.append(DNSAddress(server, _A if len(packed) == 4 else _AAAA, unique, one.ttl_s, packed))
    out = DNSOutgoing(_RESPONSE)
    for record in records:
        out.add_answer_at_time(record, 0)
    return out.packets()[0]


def goodbye(service: str, name: str) -> bytes:
    """Return the datagram that takes an instance back (RFC 6762 §10.1)."""
    out = DNSOutgoing(_RESPONSE)
    out.add_answer_at_time(DNSPointer(service, _PTR, _IN, 0, name), 0)
    return out.packets()[0]


def read(datagram: bytes, service: str) -> Said:
    """Return what a datagram says about a service, never raising, whatever it is.

    Datagrams without the service's first label are not even looked through: networks are full of other services.
    """
    label = service.partition(".")[0].encode()
    if len(datagram) > DATAGRAM_MAX or bytes([len(label)]) + label not in datagram:
        return _NOTHING
    message = DNSIncoming(datagram)
    if not message.valid:
        return Said(malformed=1)
    records = message.answers()
    if message.is_query():
        asked = tuple(one.name for one in message.questions if one.type in {_PTR, _SRV, _TXT, _A, _AAAA, _ANY})
        known = tuple(one.alias for one in _pointers(records, service) if one.ttl)
        return Said(asked[:INSTANCES_PER_DATAGRAM_MAX], known)
    return _announced(records, service)


def _announced(records: list[DNSRecord], service: str) -> Said:
    pointers = _pointers(records, service)[:INSTANCES_PER_DATAGRAM_MAX]
    shown = [pointer for pointer in pointers if pointer.ttl]
    found = [_instance(records, pointer) for pointer in shown]
    instances = tuple(one for one in found if one is not None)
    gone = tuple(pointer.alias for pointer in pointers if not pointer.ttl)
    return Said(instances=instances, gone=gone, malformed=len(found) - len(instances))


def _instance(records: list[DNSRecord], pointer: DNSPointer) -> Instance | None:
    """Put an instance together; None where something of it is missing or wrong."""
    name = pointer.alias
    services = [one for one in records if isinstance(one, DNSService) and one.name == name]
    texts = [one for one in records if isinstance(one, DNSText) and one.name == name]
    tag = _tag(texts[0].text) if texts else None
    if tag is None or not services or not services[0].port:
        return None
    server = services[0].server
    addresses = [one for one in records if isinstance(one, DNSAddress) and one.name == server]
    hosts = [host for one in addresses[:ADDRESSES_MAX] if (host := _host(one.address)) is not None]
    return Instance(name, tag, services[0].port, tuple(dict.fromkeys(hosts)), pointer.ttl)


def _pointers(records: Iterable[DNSRecord], service: str) -> list[DNSPointer]:
    return [one for one in records if isinstance(one, DNSPointer) and one.name == service]


def _text(tag: bytes) -> bytes:
    entry = TAG_KEY + b"=" + tag
    return bytes([len(entry)]) + entry


def _tag(text: bytes) -> bytes | None:
    """Return the first entry for the key, if that is a tag (RFC 6763 §6.4)."""
    at = 0
    while at < len(text):
        entry = text[at + 1 : at + 1 + text[at]]
        at += 1 + text[at]
        key, _, value = entry.partition(b"=")
        if key.lower() == TAG_KEY:
            return value if len(value) == TAG_LENGTH else None
    return None


def _host(packed: bytes) -> str | None:
    try:
        return str(ipaddress.ip_address(packed))
    except ValueError:
        return None
