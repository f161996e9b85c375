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
from cis.net.shaping import Bandwidth, OffPeak, Shares
from cis.net.stream import Stream
from cis.net.traffic import Flow, Traffic

__all__ = [
    "Bandwidth",
    "Carrier",
    "Certificate",
    "CloseReason",
    "Connection",
    "ConnectionLost",
    "ConnectionStatistics",
    "Drop",
    "Endpoint",
    "EndpointStatistics",
    "Flow",
    "NetLimits",
    "OffPeak",
    "Path",
    "Refusal",
    "Shares",
    "Stream",
    "StreamReset",
    "Traffic",
]
