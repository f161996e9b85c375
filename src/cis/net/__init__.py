"""net: one UDP endpoint that listens and dials QUIC; bytes in and out, no trust.

Start at :mod:`cis.net.endpoint`.
"""

from __future__ import annotations

from cis.net.certificate import Certificate
from cis.net.closing import CloseReason, ConnectionLost, StreamReset
from cis.net.connection import Connection
from cis.net.endpoint import Endpoint
from cis.net.limits import ConnectionStatistics, Drop, EndpointStatistics, NetLimits, Refusal
from cis.net.paths import Carrier, Path
from cis.net.stream import Stream

__all__ = [
    "Carrier",
    "Certificate",
    "CloseReason",
    "Connection",
    "ConnectionLost",
    "ConnectionStatistics",
    "Drop",
    "Endpoint",
    "EndpointStatistics",
    "NetLimits",
    "Path",
    "Refusal",
    "Stream",
    "StreamReset",
]
