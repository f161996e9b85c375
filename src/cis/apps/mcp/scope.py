"""What one server may touch: decided by whoever starts it, never by a request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cis.errors import UsageError

PUBLIC = "public"
PRIVATE = "private"


@dataclass(frozen=True)
class Scope:
    """The spaces that are served, the first by default, and what may be done in them."""

    spaces: tuple[str, ...] = (PUBLIC,)
    read_only: bool = False
    allow_delete: bool = False

    def space(self, named: str) -> str:
        """Return the space an argument names, the first where it names none; `UsageError` for one not served."""
        if not named:
            return self.spaces[0]
        if named not in self.spaces:
            raise UsageError(f"the space {named!r} is not served here: there is {', '.join(self.spaces)}")
        return named

    def among(self, named: str) -> tuple[str, ...]:
        """Return the spaces to look in: the one an argument names, else all that are served."""
        return (self.space(named),) if named else self.spaces


def scope_of(spaces: Sequence[str], *, private: bool, read_only: bool, allow_delete: bool) -> Scope:
    """Return the scope that flags stand for; `UsageError` where they contradict each other."""
    if PRIVATE in spaces:
        raise UsageError(f"--space {PRIVATE}: what is private is served only with --private")
    if read_only and allow_delete:
        raise UsageError("--read-only and --allow-delete exclude each other")
    chosen = dict.fromkeys(spaces or (PUBLIC,))
    if private:
        chosen[PRIVATE] = None
    return Scope(tuple(chosen), read_only, allow_delete)


def flags_of(scope: Scope) -> list[str]:
    """Return the flags that a scope stands for, as `scope_of` takes them."""
    named = [space for space in scope.spaces if space != PRIVATE]
    words = [] if named == [PUBLIC] else [word for space in named for word in ("--space", space)]
    words += ["--private"] if PRIVATE in scope.spaces else []
    words += ["--read-only"] if scope.read_only else []
    return words + (["--allow-delete"] if scope.allow_delete else [])
