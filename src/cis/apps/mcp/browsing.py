"""The tools over many memories: search, list, conflicts; each looks in the spaces that are served and no others."""

from __future__ import annotations

import base64
import json

from cis.api.control.client import Node
from cis.api.memories.memory_schema import Conflict, ListConflicts, ListMemories, SearchMemories, Sibling
from cis.apps.mcp import answers, arguments
from cis.apps.mcp.entries import FOUND_MAX, LISTED_MAX, Entry, entry_of, fields_of, moment, part_of
from cis.apps.mcp.scope import Scope
from cis.errors import UsageError

VALUES_MAX = 8
"""Values shown of one memory in conflict."""


def search(node: Node, given: arguments.Search, scope: Scope) -> answers.Found:
    """Answer memory_search."""
    found = node.call(
        SearchMemories(
            query=given.query,
            mode=given.mode,
            category=given.category or None,
            tag=given.tag or None,
            prefix=given.prefix,
            spaces=scope.among(given.space),
            limit=given.limit,
        )
    )
    matches = tuple(
        answers.Match(**fields_of(hit.memory, FOUND_MAX), snippet=hit.snippet, why=hit.why, score=hit.score)
        for hit in found.hits
    )
    return answers.Found(matches=matches, searched_by=found.by, waiting=found.waiting, note=found.note)


def page(node: Node, given: arguments.List, scope: Scope) -> answers.Listed:
    """Answer memory_list: one space after the other, as the node pages through one at a time."""
    spaces = scope.among(given.space)
    place, after = _place(given.cursor, len(spaces))
    entries: list[Entry] = []
    while place < len(spaces) and len(entries) < given.limit:
        found = node.call(
            ListMemories(
                prefix=given.prefix,
                category=given.category or None,
                tag=given.tag or None,
                space=spaces[place],
                order=given.order,
                limit=given.limit - len(entries),
                after=after,
            )
        )
        entries += [entry_of(memory, LISTED_MAX) for memory in found.memories]
        after = found.next
        if after is None:
            place += 1
    ended = place == len(spaces)
    return answers.Listed(memories=tuple(entries), next_cursor=None if ended else _cursor(place, after))


def conflicts(node: Node, given: arguments.Conflicts, scope: Scope) -> answers.Contested:
    """Answer memory_conflicts."""
    found: list[Conflict] = []
    for space in scope.among(given.space):
        wanted = given.limit + 1 - len(found)
        if wanted > 0:
            listed = node.call(ListConflicts(key=given.key or None, space=space, limit=wanted))
            found.extend(listed)
    shown = tuple(
        answers.Conflicting(
            key=one.key,
            space=one.space,
            values=tuple(_value(sibling) for sibling in one.values[:VALUES_MAX]),
            truncated=len(one.values) > VALUES_MAX,
        )
        for one in found[: given.limit]
    )
    return answers.Contested(conflicts=shown, truncated=len(found) > given.limit)


def _value(sibling: Sibling) -> answers.Value:
    value, truncated, _ = part_of(sibling.value, FOUND_MAX)
    return answers.Value(
        value=value,
        truncated=truncated,
        form=sibling.form,
        author=sibling.author,
        device=sibling.device,
        updated=moment(sibling.updated_ms),
        shown=sibling.shown,
    )


def _cursor(place: int, after: str | None) -> str:
    return base64.urlsafe_b64encode(json.dumps([place, after]).encode()).decode()


def _place(cursor: str, spaces: int) -> tuple[int, str | None]:
    """Return where a cursor stands: in which space, and after what; the beginning for none."""
    if not cursor:
        return 0, None
    try:
        match json.loads(base64.urlsafe_b64decode(cursor)):
            case [int(place), None | str() as after] if 0 <= place < spaces:
                return place, after
    except (ValueError, RecursionError):
        pass
    raise UsageError("that cursor is none of this list: leave it out to begin anew")
