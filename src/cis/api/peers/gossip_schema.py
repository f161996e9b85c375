"""What is asked of a running node about what members tell each other, and how far they are in step."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from cis.api.control.protocol import Request

TOPIC_DEFAULT = "general"


class Broadcasted(msgspec.Struct, frozen=True):
    """To how many neighbours a message went; they pass it on."""

    neighbours: int
    size: int


class BroadcastMessage(Request[Broadcasted], frozen=True, kw_only=True):
    """Tell all members that are up something; it is not stored, and members that are not up miss it."""

    path: ClassVar[str] = "p2p/broadcast"
    message: str
    topic: str = TOPIC_DEFAULT
    form: Literal["text", "bytes"] = "text"
    """``bytes`` come as base64"""


class Listening(msgspec.Struct, frozen=True, tag="listening", tag_field="type"):
    """What is told from now on is heard."""


class Heard(msgspec.Struct, frozen=True, kw_only=True, tag="message", tag_field="type"):
    """A message: ``text``, or ``base64`` where it is not UTF-8; ``sent_ms`` is by its author's clock."""

    topic: str
    author: str
    did: str
    sent_ms: int
    text: str | None
    base64: str | None = None
    missed: int = 0
    """how many before it were dropped because they were not read in time"""


class ListenTopics(Request[Listening | Heard], frozen=True, kw_only=True):
    """Hear what members tell, this node itself included, from now on; of one topic, or of all."""

    path: ClassVar[str] = "p2p/listen"
    stream: ClassVar[bool] = True
    topic: str | None = None
    count: int | None = None
    """end after so many messages"""
    seconds: float | None = None
    """end after so long"""


class SpaceSync(msgspec.Struct, frozen=True):
    """How far a peer and this node are apart in one space: changes that are there and not here, and the reverse."""

    space: str
    in_step: bool
    behind_here: int
    behind_there: int


class PeerSync(msgspec.Struct, frozen=True, kw_only=True):
    """How synchronisation with one member stands.

    ``spaces`` compares with what it states now where ``asked`` is true, else with what it stated ``stated_s`` seconds
    ago; there are none where it never did. ``last_success_s`` is how long ago a session ended well.
    """

    name: str
    did: str
    connected: bool
    neighbour: bool
    asked: bool
    stated_s: float | None
    spaces: tuple[SpaceSync, ...]
    syncing: bool
    sessions: int
    last_success_s: float | None
    last_error: str
    changes_received: int
    bytes_received: int
    bytes_sent: int


class SyncReport(msgspec.Struct, frozen=True):
    """How synchronisation stands; ``bodies_missing`` living changes came without their value from whoever was asked."""

    members: tuple[PeerSync, ...]
    bodies_missing: int


class GetSyncStatus(Request[SyncReport], frozen=True, kw_only=True):
    """Compare what every member holds with what is held here, without exchanging anything."""

    path: ClassVar[str] = "p2p/sync-status"
