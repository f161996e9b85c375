"""The settings that bound a node: its share of the line, its connections, and what one peer may take of it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationInfo, model_validator

from cis.api.configuration.settings_kinds import KilobytesPerSecond, Seconds, Section, TimeOfDay, is_whole, live
from cis.wire.gossip import HOPS_MAX

Mebibytes = Annotated[int, Field(ge=4, le=65_536)]


class OffPeak(Section):
    """Other limits in some hours of the day."""

    start: TimeOfDay | None = live(None, examples=["02:00"], description="when they begin, HH:MM in local time")
    end: TimeOfDay | None = live(
        None, examples=["06:00"], description="when they end, HH:MM; before start means on the next day"
    )
    upload_limit: KilobytesPerSecond = live(0, description="KB/s in these hours, 0 for no limit")
    download_limit: KilobytesPerSecond = live(0, description="KB/s in these hours, 0 for no limit")

    @model_validator(mode="after")
    def _hours(self, info: ValidationInfo) -> OffPeak:
        if not is_whole(info):
            return self
        if (self.start is None) != (self.end is None):
            raise ValueError("off_peak needs both start and end")
        if self.start is None and (self.upload_limit or self.download_limit):
            raise ValueError("limits of off_peak need its hours: start and end")
        if self.start is not None and self.start == self.end:
            raise ValueError("start and end are the same time, which leaves no hours between them")
        return self


class Bandwidth(Section):
    """How much of the line cis may use, in KB of 1024 bytes."""

    upload_limit: KilobytesPerSecond = live(0, description="KB/s to all peers together, 0 for no limit")
    download_limit: KilobytesPerSecond = live(0, description="KB/s from all peers together, 0 for no limit")
    peer_upload_limit: KilobytesPerSecond = live(0, description="KB/s to any one peer, 0 for no limit")
    peer_download_limit: KilobytesPerSecond = live(0, description="KB/s from any one peer, 0 for no limit")
    lan_exempt: bool = live(default=True, description="limit nothing between this node and peers of its local network")
    off_peak: OffPeak = OffPeak()


class ConnectionPool(Section):
    """The connections of a node."""

    max_connections: int = live(
        64, ge=1, le=4096, description="connections with members at once; beyond it the least useful idle one is closed"
    )
    idle_timeout: Seconds = live(30.0, description="seconds after which a connection that nobody needs is closed")
    keepalive_interval: Seconds = live(
        10.0, description="seconds between signs of life; below idle_timeout; after three in vain a connection is dead"
    )

    @model_validator(mode="after")
    def _keepalive_keeps_alive(self, info: ValidationInfo) -> ConnectionPool:
        if is_whole(info) and self.keepalive_interval >= self.idle_timeout:
            raise ValueError("keepalive_interval must be below idle_timeout")
        return self


class Limits(Section):
    """What peers, and strangers, may take of this node; what both ends must agree on is in docs/protocol.md."""

    connections_per_address: int = live(8, ge=1, le=4096, description="connections at once from one address")
    connections_per_peer: int = live(
        2, ge=1, le=8, description="connections at once with one member, while one takes the place of another"
    )
    unauthenticated_connections: int = live(
        32, ge=1, le=4096, description="connections at once that have not proved who they are"
    )
    retry_above: int = live(
        16, ge=0, le=4096, description="from so many of those on, who comes must first prove the address it comes from"
    )
    streams_per_connection: int = live(256, ge=16, le=4096, description="streams open at once on a connection")
    handshake_seconds: float = live(
        5.0, ge=0.5, le=60, description="seconds a handshake may take; a dial makes three attempts"
    )
    buffered_per_peer_mib: Mebibytes = live(64, description="MiB that came from one peer and are not read yet")
    buffered_mib: Mebibytes = live(512, description="MiB that came from all peers and are not read yet")
    reordered_per_replica: int = live(
        4096, ge=64, le=1 << 20, description="changes of one author kept that came before those they follow"
    )
    gossip_seen: int = Field(65_536, ge=1024, le=1 << 22, description="messages remembered, so that none is told twice")
    gossip_age_seconds: float = Field(
        120.0, ge=10, le=3600, description="seconds for which they are; older ones are no news"
    )
    gossip_hops: int = Field(HOPS_MAX, ge=1, le=HOPS_MAX, description="times a message is handed on at most")
    ban_minutes: float = live(
        10.0, ge=0, le=10_080, description="minutes for which who broke the protocol is not spoken with"
    )

    @model_validator(mode="after")
    def _within_each_other(self, info: ValidationInfo) -> Limits:
        if not is_whole(info):
            return self
        if self.buffered_per_peer_mib > self.buffered_mib:
            raise ValueError("buffered_per_peer_mib must not be above buffered_mib, which is for all peers together")
        if self.retry_above > self.unauthenticated_connections:
            raise ValueError("retry_above must not be above unauthenticated_connections: it would never be reached")
        return self
