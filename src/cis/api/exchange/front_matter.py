"""The front matter of a note: YAML between two lines of ``---`` at its very start, read safely.

Every scalar stays the text it is written as (``2024``, ``yes`` and ``1.0`` are tags like any other), and
what YAML can do beyond that is refused: aliases and anchors (which grow exponentially), tags, deep nesting.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, TypeAlias

import yaml

from cis.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

FRONT_MATTER_BYTES_MAX = 32 * 1024
"""Between the two lines. A vector of 4096 dimensions takes 22 KiB of it in an exported note."""
_DEPTH_MAX = 8

_OPENING = re.compile(rb"---[ \t]*\r?\n")
_CLOSING = re.compile(rb"^---[ \t]*\r?$\n?", re.MULTILINE)

YamlText: TypeAlias = "str | list[YamlText] | dict[str, YamlText]"


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """The fields of a note's front matter, and the position in the file at which its body begins."""

    fields: dict[str, YamlText]
    end: int


class FrontMatterFault(UsageError):
    """The front matter cannot be read; ``line`` is the file's, from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def read_front_matter(head: bytes) -> FrontMatter | None:
    """Return the front matter at the start of a file of which at least the first `HEAD_BYTES` are given.

    None where there is none: no closing line, or text between the lines that is no mapping. Raises
    `FrontMatterFault` where it is too large, not UTF-8, not YAML, or YAML beyond names, texts and lists.
    """
    opening = _OPENING.match(head)
    closing = _CLOSING.search(head, opening.end()) if opening else None
    if opening is None:
        return None
    if closing is None and len(head) < HEAD_BYTES:
        return None
    if closing is None or closing.start() - opening.end() > FRONT_MATTER_BYTES_MAX:
        raise FrontMatterFault(1, f"front matter above {FRONT_MATTER_BYTES_MAX} bytes, or not closed by ---")
    fields = _mapping(head[opening.end() : closing.start()])
    return None if fields is None else FrontMatter(fields, closing.end())


HEAD_BYTES = FRONT_MATTER_BYTES_MAX + 64
"""What of a file must be read to see all of its front matter."""


def _mapping(text: bytes) -> dict[str, YamlText] | None:
    try:
        value = _document(_events(text.decode()))
    except UnicodeDecodeError as error:
        raise FrontMatterFault(text.count(b"\n", 0, error.start) + 2, "front matter is not UTF-8") from error
    except yaml.MarkedYAMLError as error:
        raise FrontMatterFault(_line(error.problem_mark), f"front matter is not YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # The last two from pure PyYAML, for escapes beyond Unicode.
        raise FrontMatterFault(2, f"front matter is not YAML: {error}".partition("\n")[0]) from error
    return value if isinstance(value, dict) else None


def _events(text: str) -> Iterator[yaml.Event]:
    """Parse with libyaml where PyYAML has it: a vector of 384 numbers takes 0.1 ms instead of 1 ms."""
    return yaml.parse(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))


def _document(events: Iterator[yaml.Event]) -> YamlText:
    """Return the value of the only document, or an empty text where there is none."""
    value: YamlText = ""
    for count, event in enumerate(event for event in events if isinstance(event, yaml.DocumentStartEvent)):
        if count:
            _refuse("is more than one document", event)
        value = _node(events, next(events), 1)
    return value


def _node(events: Iterator[yaml.Event], event: yaml.Event, depth: int) -> YamlText:
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
        _refuse("has an alias or anchor, which are not read: put the text in quotes", event)
    if getattr(event, "tag", None) is not None:
        _refuse("has a tag, which are not read: put the text in quotes", event)
    if depth > _DEPTH_MAX:
        _refuse(f"is nested deeper than {_DEPTH_MAX}", event)
    if isinstance(event, yaml.ScalarEvent):
        return str(event.value)
    if isinstance(event, yaml.SequenceStartEvent):
        within = itertools.takewhile(lambda inner: not isinstance(inner, yaml.SequenceEndEvent), events)
        return [_node(events, inner, depth + 1) for inner in within]
    return _fields(events, depth)


def _fields(events: Iterator[yaml.Event], depth: int) -> dict[str, YamlText]:
    fields: dict[str, YamlText] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        name = _node(events, event, depth + 1)
        if not isinstance(name, str):
            _refuse("has a name that is no text", event)
        fields[name] = _node(events, next(events), depth + 1)
    return fields


def _refuse(reason: str, event: yaml.Event) -> NoReturn:
    raise FrontMatterFault(_line(event.start_mark), f"front matter {reason}")


def _line(mark: object) -> int:
    """Return the file's line of a mark in the front matter, whose first line is the file's second."""
    return int(getattr(mark, "line", 0)) + 2
