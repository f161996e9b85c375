"""``cis demo``: a long run whose code is loaded when it is asked for."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

from cis.apps.cli.shared import Json


def demo(
    keep: Annotated[
        Path | None, typer.Option(help="Keep the homes of the three nodes in this folder.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Run three real nodes on this machine: join, edit apart, heal, compare.

    Example: cis demo
    """
    code: int = importlib.import_module("cis.apps.cli.demo").run_demo(keep, json)
    raise typer.Exit(code)
