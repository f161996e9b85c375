"""Files that somebody else wrote: each row is a memory or a problem, and what is taken in comes out the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

from cis.api.configuration.settings_file import parsed
from cis.api.exchange.detect import FORMATS, read_entries
from cis.api.exchange.entry import Entry
from cis.api.exchange.front_matter import read_front_matter
from cis.api.exchange.json_text import parse_json
from cis.api.exchange.jsonl import write_jsonl
from cis.api.exchange.rows import entry_of_row, row_of_entry
from cis.api.exchange.yaml_text import mapping
from cis.errors import UsageError
from cis.model import NodeId
from cis.node.finding import bootstrap_file
from fuzz.target import Target, scratch
from tests.unit.trust.cluster import NOW_MS

_SUFFIXES = {"markdown": ".md", "jsonl": ".jsonl", "mcp-memory": ".json", "csv": ".csv"}
DEEP = 5000


def _of(form: str) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        """Read as its name and as the format says; what is taken in is exported and read the same."""
        path = _folder() / f"file{_SUFFIXES[form]}"
        path.write_bytes(data)
        found: list[Entry] = []
        with suppress(UsageError):
            list(read_entries(path))
        with suppress(UsageError):
            found += (one for one in read_entries(path, form) if isinstance(one, Entry))  # type: ignore[arg-type]  # of FORMATS
        for entry in found:
            assert entry_of_row(row_of_entry(entry)) == entry
        if found:
            again = _folder() / "again.jsonl"
            write_jsonl(found, again, overwrite=True)
            assert list(read_entries(again, "jsonl")) == found

    return run


def texts(data: bytes) -> None:
    """JSON, YAML and front matter by themselves."""
    text = data.decode(errors="replace")
    with suppress(UsageError):
        parse_json(text)
    for read in (mapping, read_front_matter):
        with suppress(UsageError):
            read(data)


def settings(data: bytes) -> None:
    """A settings file."""
    with suppress(UsageError):
        parsed(Path("config.toml"), data)


def bootstraps(data: bytes) -> None:
    """The list of nodes to begin with, which people hand on."""
    calendar = bootstrap_file.Calendar(0.0, NOW_MS)
    found = bootstrap_file.read(data, {"ana": NodeId(bytes(32))}.get, calendar)
    text = bootstrap_file.text_of(found.peers, lambda _: "ana", calendar)
    again = bootstrap_file.read(text, {"ana": NodeId(bytes(32))}.get, calendar)
    assert not again.bad
    assert len(again.peers) == len(found.peers)


_folder = cache(scratch)


_ROWS = (
    b'{"key": "editor", "value": "dark", "category": "preference", "tags": ["a"], "updated": "2026-01-01T00:00:00Z"}\n'
    b'{"key": "n", "type": "counter", "value": 3}\n{"key": "s", "type": "set", "value": ["a", {"b": 1}]}\n'
    b'{"key": "b", "value": {"base64": "/wA="}, "vector": {"model": "m", "data": "AACAPw=="}, "ttl": 5}\n'
)


def _jsonl() -> Iterable[bytes]:
    return [_ROWS, b'{"key": "k", "value": ' + b"[" * DEEP, b"\xef\xbb\xbf" + _ROWS]


def _csv() -> Iterable[bytes]:
    return [b'key,value,tags,category\r\na,b,"x,y",note\r\n', b'key\tvalue\n"a\tb\nc', b"key;value\n1;2\n"]


def _markdown() -> Iterable[bytes]:
    front = b"---\nkey: editor\ntags: [a, b]\ncategory: preference\ntype: register\n---\n"
    deep = b"---\nkey: " + b"[" * DEEP + b"\n---\n"
    return [front + b"dark mode\n", b"# A title\n\ntext\n", deep, b"---\na: &a [*a]\nb: !!python/object x\n---\n"]


def _mcp() -> Iterable[bytes]:
    yield (
        b'{"type": "entity", "name": "Ana", "entityType": "person", "observations": ["likes dark"]}\n'
        b'{"type": "relation", "from": "Ana", "to": "Bo", "relationType": "knows"}\n'
    )


def _texts() -> Iterable[bytes]:
    return [
        b'{"a": [1, 2.5e3, null, "\\ud800"], "a": 1}',
        b"[" * DEEP,
        b"a: &x {b: *x}\n",
        b"- " * DEEP,
        b"{a: " * DEEP,
    ]


def _settings() -> Iterable[bytes]:
    return [(Path(__file__).resolve().parents[2] / "config.example.toml").read_bytes()[:4000], b"a = " + b"[" * DEEP]


def _bootstraps() -> Iterable[bytes]:
    rows = (
        b'{"format": 1, "peers": [{"did": "did:cis:ana", "last_seen": "2026-01-01T00:00:00Z",'
        b' "addresses": ["192.0.2.1:9",'
        b' {"address": "[2001:db8::1]:7677", "path": "direct", "successes": 3, "rate": 0.5, "rtt_ms": 1.5,'
        b' "last_success": "2026-01-01T00:00:00+05:00"}]}, "did:cis:ana@node.example.net:7677"]}'
    )
    return [rows, b"[" * DEEP]


TARGETS = (
    *(
        Target(f"exchange.{form}", _of(form), seeds, bytes_max=3 * DEEP)
        for form, seeds in zip(FORMATS, (_markdown, _jsonl, _mcp, _csv), strict=True)
    ),
    Target("exchange.texts", texts, _texts, bytes_max=4 * DEEP),
    Target("exchange.settings", settings, _settings, bytes_max=3 * DEEP),
    Target("exchange.bootstraps", bootstraps, _bootstraps, bytes_max=3 * DEEP),
)
