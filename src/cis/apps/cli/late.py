"""A group of commands that loads the module of one when it is asked for: `cis status` waits for no other command's.

::

    class Root(LateGroup):
        late = {"status": Late("status", "Show how this node is.")}     # cis.apps.cli.status.status

    app = group("...", cls=Root)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import typer.main
from typer.core import TyperCommand, TyperGroup

from cis.api.loading import loading

if TYPE_CHECKING:
    from typer._click.core import Command, Context  # the copy of click that typer carries
    from typer._click.formatting import HelpFormatter

_ROOM = "cis.apps.cli"


class Late(NamedTuple):
    """Where a command is: a module of this room, and in it a function of the command's name or ``app``, a group."""

    module: str
    summary: str
    """The first sentence of its help, for the help of the group it is in."""
    is_group: bool = False


class LateGroup(TyperGroup):
    """See the module; what is not in ``late`` is not in the group."""

    late: ClassVar[Mapping[str, Late]] = {}

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - all of typer's
        super().__init__(**attributes)
        self.commands = _Commands(self.late)  # type: ignore[assignment] # nobody adds to it

    def list_commands(self, ctx: Context) -> list[str]:  # noqa: ARG002 - typer's
        """Return the names alone: what typer does here would load all."""
        return list(self.late)

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the summaries."""
        said = {name: TyperCommand(name, help=late.summary) for name, late in self.late.items()}
        TyperGroup(commands=dict(said)).format_commands(ctx, formatter)


class _Commands(Mapping[str, "Command"]):
    def __init__(self, late: Mapping[str, Late]) -> None:
        self._late = late
        self._loaded: dict[str, Command] = {}

    def __getitem__(self, name: str) -> Command:
        if name not in self._loaded:
            self._loaded[name] = _load(name, self._late[name])
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._late)

    def __len__(self) -> int:
        return len(self._late)


def _load(name: str, late: Late) -> Command:
    with loading():
        module = import_module(f"{_ROOM}.{late.module}")
    if late.is_group:
        return typer.main.get_group(module.app)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    alone.command(name)(getattr(module, name))
    return typer.main.get_command(alone)
