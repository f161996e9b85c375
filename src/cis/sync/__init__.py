"""Anti-entropy between two nodes, sans-IO: what each lacks, in order, acknowledged after its commit."""

from cis.sync.floors import Standing, may_take, must_compare
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
    "Standing",
    "digest",
    "from_wire",
    "may_take",
    "must_compare",
    "to_wire",
]
