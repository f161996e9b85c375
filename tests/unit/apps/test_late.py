"""Commands that are loaded when they are asked for: the help says of each what it says of itself."""

from __future__ import annotations

import typer.main

from cis.apps.cli.late import LateGroup
from cis.apps.cli.main import app

ROOT = typer.main.get_command(app)
LONGEST = 1000


def test_the_help_of_all_commands_says_of_each_what_its_own_says_first() -> None:
    assert isinstance(ROOT, LateGroup)
    said = {name: late.summary for name, late in ROOT.late.items()}
    assert said == {name: command.get_short_help_str(LONGEST) for name, command in ROOT.commands.items()}


def test_only_what_is_asked_for_is_loaded_of_a_group() -> None:
    assert isinstance(ROOT, LateGroup)
    context = ROOT.context_class(ROOT, info_name="cis")
    assert ROOT.list_commands(context) == list(ROOT.late)
    assert ROOT.get_command(context, "nothing") is None
