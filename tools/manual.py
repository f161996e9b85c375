"""The manual pages, in the macros of man(7): ``cis(1)`` of the commands and ``cis-config(5)`` of the settings.

Made from what ``--help`` and ``cis config list`` show, by ``make docs``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from typer._click.core import Command, Context  # the copy of click that typer carries

    from cis.api.configuration.settings import Row

EXIT_CODES = {
    0: "done",
    1: "failed",
    2: "the command line or a setting is wrong",
    3: "what it needs is not there: no node runs in this home, a peer is away, a port is taken",
    4: "denied",
    5: "timed out",
    6: "the value is on other devices by choice, and none that has it is connected",
    130: "interrupted",
}
_FILES = (
    ("~/.cis", "a node's home: its key, its store, its settings, its log"),
    ("~/.cis/config.toml", "settings; see cis\\-config(5)"),
    ("~/.cis/node.log", "what a node says that runs in the background"),
)
_ENVIRONMENT = (
    ("CIS_HOME", "the home, where \\-\\-home is not given"),
    ("CIS_PASSPHRASE_FILE", "a file with the passphrase of the key, for services"),
    ("CIS_P2P__…", "any setting, the parts of its name joined by two underscores; before config.toml"),
    ("CIS_LOG", "what is logged"),
    ("CIS_DEBUG", "where it is 1, a defect shows where it is"),
)


def commands_page(command: Command, version: str) -> str:
    """Return ``cis(1)``."""
    context = command.context_class(command, info_name="cis")
    return "\n".join(
        [
            f'.TH CIS 1 "" "cis {version}" "cis"',
            ".SH NAME",
            r"cis \- a memory that agents and people share, peer to peer and encrypted",
            ".SH SYNOPSIS",
            rf".B cis\fR {_escaped(' '.join(command.collect_usage_pieces(context)))}",
            ".SH DESCRIPTION",
            *_paragraphs(command.help),
            *_options(command, context),
            ".SH COMMANDS",
            *_below(command, context),
            ".SH EXIT STATUS",
            *_listed((str(code), meaning) for code, meaning in EXIT_CODES.items()),
            ".SH ENVIRONMENT",
            *_listed(_ENVIRONMENT),
            ".SH FILES",
            *_listed(_FILES),
            ".SH SEE ALSO",
            ".BR cis\\-config (5)",
            "",
        ]
    )


def settings_page(rows: Iterable[Row], version: str) -> str:
    """Return ``cis-config(5)``."""
    lines = [
        f'.TH CIS\\-CONFIG 5 "" "cis {version}" "cis"',
        ".SH NAME",
        r"cis\-config \- settings of a cis node",
        ".SH DESCRIPTION",
        *_paragraphs(
            "Settings stand in config.toml in the home of a node, in TOML: the key p2p.sync.interval is the key "
            "interval of the section [p2p.sync]. A variable of the environment (CIS_P2P__SYNC__INTERVAL) comes before "
            "the file, an option of the command before both. What is unknown, ill-typed or out of range is an error "
            "that names its line. `cis config list` shows what holds and where it comes from."
        ),
        ".SH SETTINGS",
    ]
    for row in rows:
        default = f" (default {row.default})" if row.default else ""
        lines += [".TP", rf"\fB{_escaped(row.key)}\fR", _escaped(f"{row.meaning}{default}")]
    return "\n".join([*lines, ".SH SEE ALSO", ".BR cis (1)", ""])


def _below(command: Command, context: Context) -> Iterator[str]:
    """Yield the commands of a group, each with those below it."""
    for name, child in getattr(command, "commands", {}).items():
        if not child.hidden:
            within = child.context_class(child, info_name=name, parent=context)
            usage = _escaped(" ".join(child.collect_usage_pieces(within)))
            yield from (rf".SS \fB{_escaped(within.command_path)}\fR {usage}", *_paragraphs(child.help))
            yield from _options(child, within)
            yield from _below(child, within)


def _options(command: Command, context: Context) -> Iterator[str]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and "--help" not in record[0]:
            yield from (".TP", rf"\fB{_escaped(record[0])}\fR", _escaped(record[1]))


def _listed(meanings: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, meaning in meanings:
        yield from (".TP", rf"\fB{_escaped(name)}\fR", meaning)


def _paragraphs(text: str | None) -> Iterator[str]:
    first, *others = re.split(r"\n\s*\n", (text or "").replace("\b", "").strip())
    yield _escaped(first)
    for paragraph in others:
        yield from (".PP", _escaped(paragraph))


def _escaped(text: str) -> str:
    """Return a text as one line that no macro and no escape of roff is hidden in."""
    line = re.sub(r"\s+", " ", text).strip().replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{line}" if line.startswith((".", "'")) else line
