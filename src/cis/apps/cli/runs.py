"""``cis demo`` and ``cis bench``: long runs whose code is loaded when they are asked for."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from cis.apps.cli.shared import Json


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("demo")(demo)
    if find_spec("cis.apps.cli.bench") is not None:
        app.add_typer(importlib.import_module("cis.apps.cli.bench").app, name="bench")


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
