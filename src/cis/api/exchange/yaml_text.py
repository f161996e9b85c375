"""The YAML of a front matter as texts, lists and mappings of texts; on a page of its own, as YAML is slow to load."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NoReturn

import yaml

from cis.api.exchange.front_matter import FrontMatterFault, YamlText

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEPTH_MAX = 8


def mapping(text: bytes) -> dict[str, YamlText] | None:
    """Return the mapping a text holds, None where it is none; `FrontMatterFault` where it cannot be read."""
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
