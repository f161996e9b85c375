"""``cis key``: this node's key, how it is protected, its backup."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cis.apps.cli.printing import ask_secret, say, show_json, show_table, tell
from cis.apps.cli.shared import Json, group, home_in
from cis.errors import UsageError

if TYPE_CHECKING:
    from cis.api.membership.keys import Protection, Restored

app = group("This node's key.")

WORDS_PER_LINE = 6
_NOBODY_SAYS = "no passphrase: type it on a terminal, or name a file that holds it with --passphrase-file"

PassphraseFile = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Holds the passphrase instead of asking; - is stdin.", show_default=False),
]


@app.command()
def show(context: typer.Context, json: Json = False) -> None:
    """Show whose key it is, how it is protected, and who may open the files beside it.

    Example: cis key show
    """
    from cis.api.membership.keys import show_key

    found = show_key(home_in(context))
    if json:
        show_json(found)
        return
    say(f"key          {found.did}")
    say(f"fingerprint  {' '.join(found.fingerprint)}")
    say(f"protected    {found.detail}")
    show_table(("file", "mode"), [(one.file, one.mode) for one in found.modes])


@app.command()
def passwd(
    context: typer.Context,
    remove: Annotated[bool, typer.Option("--remove", help="No passphrase: a file of mode 0600.")] = False,
    keyring: Annotated[bool, typer.Option("--keyring", help="A key in the system's keyring instead.")] = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Put the key under a passphrase, or another one. The one it is under now is asked for, or in CIS_PASSPHRASE.

    Example: cis key passwd
    """
    from cis.api.membership.keys import protect, show_key

    if remove + keyring + (passphrase_file is not None) > 1:
        raise UsageError("--remove, --keyring and --passphrase-file exclude each other: give one")
    home = home_in(context)
    now = show_key(home).protection
    to: Protection = "file" if remove else "keyring" if keyring else "passphrase"
    if to == now == "file":
        say("the key is under no passphrase")
        return
    detail = protect(home, to, lambda: _new_passphrase(passphrase_file, "new passphrase", fallback=now == "file"))
    say(f"the key is {detail}")
    if remove:
        tell("anybody who can read that file, or a copy of this disk, is this node")


@app.command()
def backup(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="Where to write it.", show_default=False)] = None,
    words: Annotated[bool, typer.Option("--words", help="Print 24 words instead, the identity alone.")] = False,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Write who this node is to a file under a passphrase (age). It holds no memories.

    Example: cis key backup laptop.age
    """
    if words == (file is not None):
        raise UsageError("name a file to write, or --words to print words: one of them")
    if file is None:
        _print_words(context, json)
        return
    from cis.api.membership.keys import back_up

    did = back_up(
        home_in(context), file, lambda: _new_passphrase(passphrase_file, f"passphrase of {file}", fallback=True)
    )
    if json:
        show_json({"did": did, "file": str(file)})
        return
    say(f"{file} holds {did}: identity, the cluster's keys and log, addresses, settings")
    say("its memories are not in it: public ones come back from the other members, private ones do not")
    say(f"back again: cis --home DIR key restore {file}")


@app.command()
def restore(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="What `cis key backup` wrote.", show_default=False)] = None,
    words: Annotated[bool, typer.Option("--words", help="From 24 words, asked for or on stdin.")] = False,
    name: Annotated[
        str | None, typer.Option(help="With --words: what to call this node until it joins.", show_default=False)
    ] = None,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Make the node of a backup, in an empty home, or in one whose identity.key is lost.

    Example: cis --home ~/.cis key restore laptop.age
    """
    from cis.api.membership.keys import restore_from, restore_words

    if words == (file is not None):
        raise UsageError("name the file of a backup, or --words: one of them")
    if file is None:
        made = restore_words(home_in(context), _typed_words(), name)
    else:
        made = restore_from(home_in(context), file, lambda: _passphrase(passphrase_file, f"passphrase of {file}"))
    if json:
        show_json(made)
        return
    _tell_restored(made, from_words=words)


def _tell_restored(made: Restored, *, from_words: bool) -> None:
    say(f"{made.name} is back in {made.home}, as a new incarnation")
    say(f"  {made.did}")
    if made.store_kept:
        say(f"its store was still there: {made.memories} public memories")
    elif from_words:
        say("words hold the identity alone, so this node knows no other: to be the same member again, let an admin of")
        say("its cluster run `cis invite`, and type here: cis join TICKET")
    elif len(made.members) > 1:
        others = ", ".join(one for one in made.members if one != made.name)
        say(f"public memories come back from {others} once it is up; what only it held, private ones included, is lost")
    else:
        say("it was the only member of its cluster: nobody holds its memories")
    tell("the node this was a backup of must not run any more: two with one key disturb each other")
    if made.protection == "passphrase":
        tell("its key is under the backup's passphrase: `cis key passwd` changes that")
    if made.store_kept or not from_words:
        say("next: cis up --detach")


def _print_words(context: typer.Context, json: bool) -> None:
    from cis.api.membership.keys import back_up_as_words

    found = back_up_as_words(home_in(context))
    if json:
        show_json({"words": found})
        return
    numbered = [f"{number:2} {word:9}" for number, word in enumerate(found, 1)]
    for at in range(0, len(numbered), WORDS_PER_LINE):
        say(" ".join(numbered[at : at + WORDS_PER_LINE]).rstrip())
    tell("whoever reads these is this node: on paper, not in a file. They hold the identity alone: an admin must")
    tell("invite what is restored from them, so the only admin of a cluster needs a backup file")


def _typed_words() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.read(4096)
    tell("the 24 words, on one line or several, then an empty line:")
    lines = []
    while line := sys.stdin.readline().strip():
        lines.append(line)
    return " ".join(lines)


def _passphrase(path: str | None, what: str) -> str:
    from cis.api.membership.passphrases import given_passphrase, read_passphrase

    found = read_passphrase(path) if path is not None else given_passphrase() or ask_secret(what)
    if found is None:
        raise UsageError(_NOBODY_SAYS)
    return found


def _new_passphrase(path: str | None, what: str, *, fallback: bool) -> str:
    """Return a passphrase to be: from a file, from who is there (twice), else, if so wished, the environment's."""
    from cis.api.membership.passphrases import given_passphrase, read_passphrase

    if path is not None:
        return read_passphrase(path)
    found = (given_passphrase() if fallback else None) or ask_secret(what, twice=True)
    if found is None:
        raise UsageError(_NOBODY_SAYS)
    return found
