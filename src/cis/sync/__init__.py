"""Anti-entropy between two nodes, sans-IO: what each lacks, in order, acknowledged after its commit."""

from cis.sync.index import Index, Membership
from cis.sync.session import (
    WINDOW_BYTES,
    AddEntries,
    Effect,
    Fetch,
    Finished,
    InspectOwn,
    Merge,
    Report,
    Send,
    SendFrame,
    Session,
)
from cis.sync.vectors import digest, from_wire, to_wire

__all__ = [
    "WINDOW_BYTES",
    "AddEntries",
    "Effect",
    "Fetch",
    "Finished",
    "Index",
    "InspectOwn",
    "Membership",
    "Merge",
    "Report",
    "Send",
    "SendFrame",
    "Session",
    "digest",
    "from_wire",
    "to_wire",
]
