"""The exception tree of cis: one class for each thing a caller can do about a failure.

::

    CisError
    ├── UsageError        the request itself is wrong: change it
    ├── Changed           what it was made for is no longer so: read again, and decide anew
    ├── Denied            trust, roles or file modes forbid it: ask whoever may allow it
    ├── Unavailable       a daemon, peer or resource is not there now: start it, or try again
    │   ├── TimedOut      it did not answer within the stated bound
    │   └── Elsewhere     a value is on other devices by choice, and cannot be had from them now: connect one
    ├── StoreError        a file of the store cannot be used: the text names the file and the remedy
    └── PeerFault         a peer broke the protocol: the connection is closed with the reason

The text of an error says what happened, to what, and what to do next; commands print it on one line.
"""

from __future__ import annotations

import enum
import errno

_REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space, nothing acknowledged is lost",
    errno.EDQUOT: "your share of the disk is used up: free some space, nothing acknowledged is lost",
    errno.EROFS: "it lies on a read-only file system: mount it writable, or name another home with --home",
    errno.EACCES: "it is not yours to use: see its owner and mode with  ls -ld",
    errno.EPERM: "it is not yours to use: see its owner and mode with  ls -ld",
    errno.EMFILE: "this process has too many files open: raise  ulimit -n",
}


class CisError(Exception):
    """Base of every error cis raises on purpose; ``exit_code`` is what the command line returns."""

    exit_code = 1


def system_remedy(error: OSError) -> str:
    """Return what an error of the system means and what to do about it, empty where that is not known."""
    return _REMEDIES.get(error.errno or 0, "")


class UsageError(CisError):
    """The request cannot be carried out as it was put."""

    exit_code = 2


class Changed(CisError):
    """A memory is no longer what the write was made for; nothing was written."""


class Denied(CisError):
    """Identity, role, access list or file mode forbids the request."""

    exit_code = 4


class Unavailable(CisError):
    """Something the request needs is not reachable now."""

    exit_code = 3


class TimedOut(Unavailable):
    """Something the request needs did not answer within its bound."""

    exit_code = 5


class Elsewhere(Unavailable):
    """A value is on other devices by choice, and none that has it is connected."""

    exit_code = 6


class StoreError(CisError):
    """A store file is damaged, foreign, newer, locked or keyed for somebody else; nothing was changed."""


class Fault(enum.IntEnum):
    """Why a connection is closed; travels as the QUIC application error code (docs/protocol.md)."""

    NONE = 0
    REFUSED = 1
    """Authentication failed; deliberately says no more (RULES: one code until the dialler is proven)."""
    VERSION = 2
    NOT_MEMBER = 3
    SELF = 4
    DUPLICATE = 5
    MALFORMED = 6
    TOO_LARGE = 7
    TOO_SLOW = 8
    BAD_SIGNATURE = 9
    BAD_HASH = 10
    UNAUTHORISED = 11
    FORKED = 12
    BUSY = 13
    SHUTDOWN = 14
    TICKET = 15
    INTERNAL = 16
    BANNED = 17
    PARTED = 18
    """The other side's user disconnected, and does not want to be connected for now."""
    EXCESSIVE = 19
    """More incarnations of one node than a node has in a long life: what they wrote is set aside."""
    CUT = 20
    """Written beyond the cut of its author's removal: who passes it on has not heard of that yet."""


class PeerFault(CisError):
    """A peer sent what the protocol forbids.

    Raised only inside the decoding and verifying rooms and turned into a reasoned disconnect at the per-peer
    boundary; it never reaches a user as an exception.
    """

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(f"{fault.name.lower().replace('_', ' ')}: {detail}")
        self.fault = fault
        self.detail = detail
