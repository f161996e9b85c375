"""What commands of the DHT read and write without a node: entry points in the settings, keys of one's own items."""

from __future__ import annotations

import json
import os
from pathlib import Path

from cis.api.configuration.configuring import write_setting
from cis.api.configuration.settings import load
from cis.discovery.address import join_endpoint, split_endpoint
from cis.discovery.dht.options import DHT_PORT_DEFAULT, PUBLIC_BOOTSTRAP
from cis.errors import UsageError

SETTING = "p2p.discovery.bootstrap_nodes"
_SEED_LENGTH = 32


def add_entry(folder: Path, text: str) -> tuple[str, ...]:
    """Write an entry point to the settings, before those there; returns them all.

    Raises `UsageError` for what is no host:port.
    """
    entry = join_endpoint(*split_endpoint(text, DHT_PORT_DEFAULT))
    there = load(folder).p2p.discovery.bootstrap_nodes
    entries = (entry, *(one for one in there if one != entry))
    write_setting(folder, SETTING, json.dumps(entries))
    return entries


def entries_of(folder: Path) -> tuple[tuple[str, str], ...]:
    """Return the entry points in use, and whether each is of the settings or built in."""
    discovery = load(folder).p2p.discovery
    public = PUBLIC_BOOTSTRAP if discovery.dht_public_bootstrap else ()
    own = tuple(
        (join_endpoint(*split_endpoint(one, DHT_PORT_DEFAULT)), "settings") for one in discovery.bootstrap_nodes
    )
    return (*own, *((join_endpoint(host, port), "built in") for host, port in public))


def seed_in(file: Path) -> str:
    """Return the seed of a key in a file, in hexadecimal; one is made where there is no file."""
    try:
        with file.open("rb") as opened:
            text = opened.read(4 * _SEED_LENGTH).decode("ascii", "replace").strip()
    except FileNotFoundError:
        text = os.urandom(_SEED_LENGTH).hex()
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as made:
            made.write(f"{text}\n")
    if len(text) != 2 * _SEED_LENGTH or not all(digit in "0123456789abcdef" for digit in text.lower()):
        raise UsageError(f"{file} holds no seed of a key: 64 hexadecimal digits, or name a file that is not there yet")
    return text
