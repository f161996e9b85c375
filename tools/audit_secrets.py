"""Secrets that lie about in the repository: in tracked files, and in everything its history ever held.

::

    python -m tools.audit_secrets           # exit 1 where there is one

Two nets: forms that only a secret has (private keys, providers' tokens, our own tickets and identity files), and
quoted text of high entropy (Shannon, 1948) given to a name that says secret. A finding shows where, and a few
characters. `KNOWN` holds the hashes of what may stay, with the reason.
"""

from __future__ import annotations

import hashlib
import math
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOB_BYTES_MAX = 2 << 20
ENTROPY_MIN = 3.5
"""Bits for each character; English has about 4.1 over letters but repeats, hexadecimal at random 4."""
LENGTH_MIN = 20

KNOWN: dict[str, str] = {
    "0913a2c10c07eeea": "an address that a test sees refused",
    "11a0fd56b5ef9206": "the SHA-256 of a file of the embedding model",
}
"""The first 16 digits of the SHA-256 of what was found -> why it may stay."""

_FORMS = {
    "private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    "age key": re.compile(r"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    "cis identity": re.compile(r"cis identity 1\\?n?\s+did:key:z\w+\\?n?\s+[0-9a-f]{64}"),
    "cis ticket": re.compile(r"\bcis1[a-z2-7]{100,}"),
    "AWS key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "GitHub token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})"),
    "GitLab token": re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}"),
    "Slack token": re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    "API key": re.compile(r"\bsk-(?:[a-z]+-)*[A-Za-z0-9_-]{32,}"),
    "Google key": re.compile(r"\bAIza[0-9A-Za-z_-]{35}\b"),
    "PyPI token": re.compile(r"\bpypi-[A-Za-z0-9_-]{50,}"),
    "JSON web token": re.compile(r"\beyJ[A-Za-z0-9_-]{15,}\.eyJ[A-Za-z0-9_-]{15,}\.[A-Za-z0-9_-]{15,}"),
    "password in an address": re.compile(r"\b[a-z][a-z0-9+]{2,}://[^\s/:@'\"{}<>]+:[^\s/@'\"{}<>$]{6,}@[a-z0-9.-]+"),
}
_GIVEN = re.compile(
    r"(?i)\b[\w.-]*(?:secret|passw(?:or)?d|passphrase|credential|api_?key|token|private_?key|seed)[\w]*"
    r"[\"']?\s*[:=]\s*[bru]*(?P<quote>[\"'])(?P<value>[^\"'\s]{20,200})(?P=quote)"
)


@dataclass(frozen=True)
class Leak:
    """What looks like a secret, and where."""

    where: str
    line: int
    form: str
    text: str

    @property
    def mark(self) -> str:
        """What `KNOWN` names it by."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    def __str__(self) -> str:
        return f"{self.where}:{self.line}: {self.form}: {self.text[:8]}… ({self.mark})"


def leaks_in(where: str, text: str) -> Iterator[Leak]:
    """Yield everything in a text that looks like a secret, known or not."""
    for form, pattern in _FORMS.items():
        for found in pattern.finditer(text):
            yield Leak(where, text.count("\n", 0, found.start()) + 1, form, found.group())
    for found in _GIVEN.finditer(text):
        value = found["value"]
        if entropy(value) >= ENTROPY_MIN and not _is_prose(value):
            yield Leak(where, text.count("\n", 0, found.start()) + 1, "given to a secret's name", value)


def entropy(text: str) -> float:
    """Return the Shannon entropy of a text's characters, in bits for each."""
    counts = Counter(text)
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts.values())


def unknown_leaks(root: Path) -> list[Leak]:
    """Return what is found in tracked and untracked files, and in history, and is not known."""
    texts = [*_files(root), *_history(root)]
    found = {leak.mark: leak for where, text in reversed(texts) for leak in leaks_in(where, text)}
    return [leak for mark, leak in found.items() if mark not in KNOWN]


def known_but_gone(root: Path) -> list[str]:
    """Return what `KNOWN` excuses and nothing holds."""
    held = {leak.mark for where, text in (*_files(root), *_history(root)) for leak in leaks_in(where, text)}
    return sorted(KNOWN.keys() - held)


def _is_prose(value: str) -> bool:
    """Whether it is a path, a name with dots, or words joined by signs: nothing drawn at random."""
    return bool(re.fullmatch(r"[A-Za-z]+(?:[._/:-][A-Za-z{}]+)*", value))


def _files(root: Path) -> Iterator[tuple[str, str]]:
    """Yield the files as they lie there, those not yet committed too."""
    for name in _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").decode().split("\0"):
        path = root / name
        if name and path.is_file() and not path.is_symlink() and path.stat().st_size <= BLOB_BYTES_MAX:
            yield name, path.read_bytes().decode(errors="replace")


def _history(root: Path) -> Iterator[tuple[str, str]]:
    """Yield every text that any commit ever held, and every commit's message."""
    listed = _git(root, "cat-file", "--batch-all-objects", "--batch-check=%(objecttype) %(objectname) %(objectsize)")
    for line in listed.decode().splitlines():
        kind, name, size = line.split()
        if kind in {"blob", "commit", "tag"} and int(size) <= BLOB_BYTES_MAX:
            data = _git(root, "cat-file", kind, name)
            if b"\0" not in data:
                yield f"{kind} {name[:12]}", data.decode(errors="replace")


def _git(root: Path, *words: str) -> bytes:
    return subprocess.run(["git", "-C", str(root), *words], capture_output=True, check=True).stdout  # noqa: S603, S607 - git of whoever runs this


def main() -> int:
    """Print what is found."""
    found = unknown_leaks(ROOT)
    for leak in found:
        print(leak)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
