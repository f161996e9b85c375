"""Settings as a tree: every one of them with its place, and trees of values laid over each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel

from cis.api.configuration.settings_kinds import LIVE
from cis.api.configuration.settings_schema import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pydantic.fields import FieldInfo

    from cis.api.configuration.settings_file import Location

Tree = dict[str, Any]


def fields(
    model: type[BaseModel] = Settings, above: tuple[str, ...] = (), *, sections: bool = False
) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Every setting there is, as defined; with ``sections`` these too, each before what it holds."""
    for name, field in model.model_fields.items():
        path = (*above, name)
        if sections or not is_section(field):
            yield path, field
        if is_section(field):
            yield from fields(cast("type[BaseModel]", field.annotation), path, sections=sections)


def is_section(field: FieldInfo) -> bool:
    """Tell whether a field holds settings and is none itself."""
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def leaves(settings: Settings) -> Iterator[tuple[tuple[str, ...], FieldInfo, Any]]:
    """Every setting: its path, its field and its value."""
    for path, field in fields():
        yield path, field, at(settings, path)


def at(settings: Settings, path: Sequence[str]) -> Any:  # noqa: ANN401 - of whichever type the setting is
    """Return the value of one setting, or a section."""
    value: Any = settings
    for name in path:
        value = getattr(value, name)
    return value


def is_live(field: FieldInfo) -> bool:
    """Tell whether a running node takes the setting up when it is changed."""
    return field.json_schema_extra == LIVE


def within(table: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value in a free table, and where it stands."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from within(value, (*above, name))
        else:
            yield (*above, name), value


def put(tree: Tree, path: Sequence[str], value: object) -> None:
    """Put a value where its path leads; one that stands in its way stays, and is found to be no section."""
    branch: Any = tree
    *sections, last = path
    for section in sections:
        branch = branch.setdefault(section, {})
        if not isinstance(branch, dict):
            return
    branch[last] = value


def nested(flat: Mapping[str, object]) -> Tree:
    """Return dotted keys as a tree."""
    tree: Tree = {}
    for key, value in flat.items():
        put(tree, key.split("."), value)
    return tree


def overlay(below: Tree, above: Tree) -> None:
    """Lay a tree over another, whose values it replaces."""
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            overlay(below[key], value)
        else:
            below[key] = dict(value) if isinstance(value, dict) else value


def has(tree: Any, path: Location) -> bool:  # noqa: ANN401 - a tree of settings or a value in it
    """Tell whether a tree leads somewhere along a path."""
    for name in path:
        if not isinstance(tree, dict) or name not in tree:
            return False
        tree = tree[name]
    return True


def dotted(location: Location) -> str:
    """Return a place as it is written: ``p2p.peers.static_peers[0]``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")


def shown(value: object) -> str:
    """Return a value as a list of settings shows it, without what is secret."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list | dict):
        return ", ".join(shown(part) for part in value)
    if isinstance(value, BaseModel):
        return str(getattr(value, "url", value))
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
