"""Every setting there is: its type, its default, what it means, and whether it acts yet.

The names are those people know from the system cis succeeds. A setting whose part of cis is not built yet is
typed and checked like the others and marked with `later`; `cis.api.settings.inert` lists those that were set.
"""

from __future__ import annotations

import ipaddress
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationInfo, model_validator

from cis.anchor.place import check_url
from cis.api.relay_urls import parse_stun, parse_turn
from cis.discovery.address import PORT_DEFAULT, split_endpoint
from cis.discovery.libp2p.places import check_entry
from cis.discovery.static import StaticPeer
from cis.embedding.choosing import EmbeddingOptions, Provider, check_token
from cis.embedding.choosing import check_url as check_embedder
from cis.embedding.embedder import MODEL_BYTES_MAX
from cis.errors import UsageError
from cis.trust.acl import Acl, Mode, check_pattern

TYPED = "typed"
"""Key of the validation context that says: these values come with types, so none is converted."""
PARTIAL = "partial"
"""Key of the validation context that says: other places may say more, so nothing is compared yet."""

SERVERS_MAX = 16
"""STUN servers, and relays, at most."""
ENTRIES_MAX = 32
"""Entry points of libp2p's network, at most."""

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=0, le=65_535)]
Weight = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
KilobytesPerSecond = Annotated[int, Field(ge=0)]
TimeOfDay = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


def _listed(value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401 - whatever somebody wrote
    """A list as a tuple; from the environment also JSON, or words between commas."""
    if isinstance(value, str) and not (info.context or {}).get(TYPED):
        text = value.strip()
        value = json.loads(text) if text.startswith("[") else [part.strip() for part in text.split(",") if part.strip()]
    return tuple(value) if isinstance(value, list) else value


def _endpoint(value: Any) -> Any:  # noqa: ANN401 - whatever somebody wrote
    if isinstance(value, str):
        _explain(split_endpoint, value)
    return value


def _endpoint_or_auto(value: Any) -> Any:  # noqa: ANN401 - whatever somebody wrote
    return value if value == "auto" else _endpoint(value)


def _listening(value: Any) -> Any:  # noqa: ANN401 - whatever somebody wrote
    if isinstance(value, str):
        try:
            ipaddress.ip_address(value)
        except ValueError:
            raise ValueError("no IP address: write ::, 0.0.0.0, or an address of this machine") from None
    return value


def _stun_server(value: Any) -> Any:  # noqa: ANN401 - whatever somebody wrote
    if isinstance(value, str):
        _explain(parse_stun, value)
    return value


def _turn_url(value: Any) -> Any:  # noqa: ANN401 - whatever somebody wrote
    if isinstance(value, str):
        _explain(parse_turn, value)
    return value


def _anchor(value: Any) -> Any:  # noqa: ANN401 - whatever somebody wrote
    if isinstance(value, str):
        _explain(check_url, value)
    return value


def _anchors(value: Any) -> Any:  # noqa: ANN401 - whatever somebody wrote
    """One as a string, several as a list or with commas between."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    return tuple(value) if isinstance(value, list) else value


def _static_peer(value: Any) -> Any:  # noqa: ANN401 - whatever somebody wrote
    if isinstance(value, str):
        _explain(StaticPeer.parse, value)
    return value


def _entry(value: Any) -> Any:  # noqa: ANN401 - whatever somebody wrote
    if isinstance(value, str):
        _explain(check_entry, value)
    return value


def _embedder(value: Any) -> Any:  # noqa: ANN401 - whatever somebody wrote
    if isinstance(value, str) and value:
        _explain(check_embedder, value)
    return value


def _token(value: Any) -> Any:  # noqa: ANN401 - whatever somebody wrote
    if isinstance(value, str):
        _explain(check_token, value)
    return value


def _pattern(value: Any) -> Any:  # noqa: ANN401 - whatever somebody wrote
    if isinstance(value, str):
        _explain(check_pattern, value)
    return value


def _explain(parse: Any, text: str) -> None:  # noqa: ANN401 - any parser
    try:
        parse(text)
    except UsageError as error:
        raise ValueError(str(error)) from error


Listed = BeforeValidator(_listed)
Anchors = BeforeValidator(_anchors)
Endpoint = Annotated[str, BeforeValidator(_endpoint)]
Endpoints = Annotated[tuple[Endpoint, ...], Listed]
PluginName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
Plugins = Annotated[dict[PluginName, dict[str, Any]], Field(max_length=16)]
"""Tables by the name of the plugin each is handed to, which alone knows what may stand in it."""
Patterns = Annotated[tuple[Annotated[str, BeforeValidator(_pattern)], ...], Listed]


def later(default: Any, meaning: str) -> Any:  # noqa: ANN401 - as pydantic's Field
    """A field that does not act yet; ``default`` is what holds until then, whatever is set."""
    return Field(default, description=meaning, json_schema_extra={"later": True})


class Section(BaseModel):
    """A section of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=False)


class Libp2p(Section):
    """libp2p's hash table."""

    enabled: bool = Field(
        default=False, description="find nodes through libp2p's hash table; needs pip install 'cis-node[libp2p]'"
    )
    bootstrap: Annotated[tuple[Annotated[str, BeforeValidator(_entry)], ...], Field(max_length=ENTRIES_MAX), Listed] = (
        Field((), description="entry points of your own, as multiaddrs; tried before the public ones")
    )
    public_bootstrap: bool = Field(
        default=True, description="enter by the public entry points too; false for a network of your own"
    )
    port: Port = Field(0, description="TCP port that others fetch this node's sealed record from; 0 for any")


class Discovery(Section):
    """How other nodes are found."""

    enable_mdns: bool = Field(default=True, description="find nodes on the local network, and let them find this one")
    service_name: str = Field(
        "_cis._udp",
        pattern=r"^_[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?\._udp$",
        description="the service announced by mDNS",
    )
    broadcast_interval: Seconds = Field(30.0, description="seconds between announcements on the local network")
    enable_dht: bool = Field(
        default=False, description="find nodes through the Mainline DHT; needs pip install 'cis-node[dht]'"
    )
    bootstrap_nodes: Annotated[Endpoints, Field(max_length=ENTRIES_MAX)] = Field(
        (), description="entry points of the DHT of your own, as host:port; tried before the public ones"
    )
    dht_public_bootstrap: bool = Field(
        default=True, description="enter the public DHT, by its entry points; false for a network of your own"
    )
    dht_port: Port = Field(0, description="UDP port of the DHT, 0 for any; TCP is bound there too, and serves nothing")
    dht_read_only: bool = Field(default=False, description="ask the DHT and keep nothing for others: for small devices")
    libp2p: Libp2p = Libp2p()
    plugins: Plugins = Field({}, description="a table for each way of finding nodes that another package brings")


class Transports(Section):
    """Ways for datagrams beside UDP, for where no path over it is found."""

    websocket: bool = Field(
        default=True, description="in a WebSocket through an anchor, where nothing else leads to a member"
    )
    plugins: Plugins = Field({}, description="a table for each transport that another package brings")


class CloudAnchor(Section):
    """A rendezvous server, or several."""

    enabled: bool = Field(default=False, description="register with an anchor, and find and reach members through it")
    endpoint: Annotated[tuple[Annotated[str, BeforeValidator(_anchor)], ...], Field(max_length=8), Anchors] = Field(
        (), description="the anchor's https:// address, or several; http:// only for a local address"
    )
    register_interval: Annotated[float, Field(ge=10, le=1800)] = Field(
        300.0, description="seconds between registrations"
    )
    token: Annotated[SecretStr, Field(max_length=256)] = Field(SecretStr(""), description="what the anchor lets in by")
    ca_file: str = Field("", description="a file of certificates to trust for the anchor, in place of the system's")

    @model_validator(mode="after")
    def _somewhere(self, info: ValidationInfo) -> CloudAnchor:
        if not (info.context or {}).get(PARTIAL) and self.enabled and not self.endpoint:
            raise ValueError("enabled needs an endpoint: the anchor's https:// address")
        return self


class Peers(Section):
    """Nodes whose addresses are known."""

    static_peers: Annotated[tuple[Annotated[str, BeforeValidator(_static_peer)], ...], Listed] = Field(
        (), description="peers to connect to, as did:cis:NAME@host:port or did:key:z6Mk…@host:port"
    )

    def parsed(self) -> tuple[StaticPeer, ...]:
        """The static peers, read."""
        return tuple(StaticPeer.parse(text) for text in self.static_peers)


class Nat(Section):
    """The router in between."""

    enable_upnp: bool = Field(
        default=False, description="ask the router to forward a port, by UPnP-IGD, NAT-PMP or PCP"
    )


class TurnServer(Section):
    """A relay, and what it asks for."""

    url: Annotated[str, BeforeValidator(_turn_url)]
    username: Annotated[str, Field(max_length=512)] = ""
    credential: Annotated[SecretStr, Field(max_length=512)] = SecretStr("")


class Ice(Section):
    """Paths through address translation."""

    stun_servers: Annotated[
        tuple[Annotated[str, BeforeValidator(_stun_server)], ...], Field(max_length=SERVERS_MAX), Listed
    ] = Field((), description="servers that tell a node its public address, as host:port")
    use_public_stun: bool = Field(
        default=False,
        description="ask public STUN servers too; they see this node's public address and that it uses STUN",
    )
    turn_servers: Annotated[tuple[TurnServer, ...], Field(max_length=SERVERS_MAX), Listed] = Field(
        (), description="relays: url (turn:host:port?transport=udp or tcp, or turns:host:port), username, credential"
    )


class AccessList(Section):
    """Which of the members this node connects with; who is no member it never does."""

    mode: Literal["open", "whitelist", "solitary", "quarantine"] = Field(
        "open",
        description="open: all members but the denied; whitelist: only the allowed; solitary: nobody; "
        "quarantine: connected, and nothing is exchanged",
    )
    whitelist_only: bool = Field(default=False, description="another way to say that the mode is whitelist")
    whitelist: Patterns = Field((), description="members allowed, as did:cis:NAME with * and ?, or did:key:z6Mk…")
    blacklist: Patterns = Field((), description="members denied, whatever allows them")

    @model_validator(mode="after")
    def _one_mode(self, info: ValidationInfo) -> AccessList:
        said = "mode" in self.model_fields_set and Mode(self.mode) is not Mode.WHITELIST
        if not (info.context or {}).get(PARTIAL) and self.whitelist_only and said:
            raise ValueError(f"whitelist_only = true and mode = {self.mode}: drop one of the two")
        return self

    def parsed(self) -> Acl:
        """The access list, as connections are judged by it."""
        mode = Mode.WHITELIST if self.whitelist_only else Mode(self.mode)
        return Acl(mode, self.whitelist, self.blacklist)


class PublicMemory(Section):
    """How the public space is exchanged."""

    enabled: bool = later(default=True, meaning="exchange the public space")
    priority: Literal["low", "normal", "high"] = later("normal", "its turn among the spaces")


class Sync(Section):
    """How memories are exchanged and merged."""

    interval: Seconds = Field(60.0, description="seconds between comparisons with a connected peer")
    batch_size: Annotated[int, Field(ge=1, le=10_000)] = later(100, "changesets at most in one frame of a sync")
    conflict_resolution: Literal["lww", "vector_clock", "crdt"] = Field(
        "crdt", description="what is shown where edits conflict: lww hides the losers, the others list them"
    )
    collect_history: bool = Field(
        default=False, description="drop what was replaced or deleted once every member has had it"
    )
    public_memory: PublicMemory = PublicMemory()


class OffPeak(Section):
    """Other limits in some hours."""

    start: TimeOfDay | None = later(None, "when they begin, HH:MM")
    end: TimeOfDay | None = later(None, "when they end, HH:MM")
    upload_limit: KilobytesPerSecond = later(0, "KB/s in these hours, 0 for none")
    download_limit: KilobytesPerSecond = later(0, "KB/s in these hours, 0 for none")

    @model_validator(mode="after")
    def _both_or_neither(self, info: ValidationInfo) -> OffPeak:
        if not (info.context or {}).get(PARTIAL) and (self.start is None) != (self.end is None):
            raise ValueError("off_peak needs both start and end")
        return self


class Bandwidth(Section):
    """How much of the line cis may use."""

    upload_limit: KilobytesPerSecond = later(0, "KB/s, 0 for no limit")
    download_limit: KilobytesPerSecond = later(0, "KB/s, 0 for no limit")
    off_peak: OffPeak = OffPeak()


class ConnectionPool(Section):
    """The connections of a node."""

    max_connections: int = Field(64, ge=1, le=4096, description="connections at once")
    idle_timeout: Seconds = Field(30.0, description="seconds without any packet after which one is closed")
    keepalive_interval: Seconds = Field(10.0, description="seconds between signs of life; below idle_timeout")

    @model_validator(mode="after")
    def _keepalive_keeps_alive(self, info: ValidationInfo) -> ConnectionPool:
        if not (info.context or {}).get(PARTIAL) and self.keepalive_interval >= self.idle_timeout:
            raise ValueError("keepalive_interval must be below idle_timeout")
        return self


class P2p(Section):
    """Everything between nodes."""

    enabled: bool = Field(default=True, description="open a socket at all")
    listen_address: Annotated[str, BeforeValidator(_listening)] = Field(
        "::", description="the address to listen on; :: is IPv6 and IPv4, or IPv4 alone where there is no other"
    )
    listen_port: Port = Field(PORT_DEFAULT, description="the UDP port to listen on, 0 for any")
    external_address: Annotated[str, BeforeValidator(_endpoint_or_auto)] = Field(
        "auto", description="host:port under which others reach this node, where it cannot tell itself"
    )
    discovery: Discovery = Discovery()
    cloud_anchor: CloudAnchor = CloudAnchor()
    peers: Peers = Peers()
    nat: Nat = Nat()
    ice: Ice = Ice()
    transports: Transports = Transports()
    acl: AccessList = AccessList()
    sync: Sync = Sync()
    bandwidth: Bandwidth = Bandwidth()
    connection_pool: ConnectionPool = ConnectionPool()


class Embedding(Section):
    """What turns memories into vectors, so that they are found by what they mean."""

    provider: Provider = Field(
        "auto", description="auto: the local model where it is installed; minilm: that one; http: a server; off: none"
    )
    url: Annotated[str, Field(max_length=2048), BeforeValidator(_embedder)] = Field(
        "", description="with http: an OpenAI-compatible server, as https://HOST/v1, before /embeddings"
    )
    model: Annotated[str, Field(max_length=MODEL_BYTES_MAX, pattern=r"^[!-~]*$")] = Field(
        "", description="with http: the model to ask for; vectors carry its name"
    )
    token: Annotated[SecretStr, Field(max_length=512), BeforeValidator(_token)] = Field(
        SecretStr(""), description="what the server lets in by"
    )
    private: bool = Field(default=False, description="give a server what stands in the private space too")
    unload_after: Seconds = Field(300.0, description="seconds without use after which the model's memory is given back")

    @model_validator(mode="after")
    def _whom_to_ask(self, info: ValidationInfo) -> Embedding:
        whole = self.url and self.model
        if not (info.context or {}).get(PARTIAL) and self.provider == "http" and not whole:
            raise ValueError("provider = http needs url and model")
        return self

    def parsed(self) -> EmbeddingOptions:
        """What the embedder is chosen by."""
        token = self.token.get_secret_value()
        return EmbeddingOptions(self.provider, self.url, self.model, token, self.private, self.unload_after)


class Search(Section):
    """How memories are found."""

    word_weight: Weight = Field(1.0, description="how much being found by words counts; 0 for not at all")
    meaning_weight: Weight = Field(1.0, description="how much being found by meaning counts; 0 for not at all")


class MemorySettings(Section):
    """How memories are found again."""

    embedding: Embedding = Embedding()
    search: Search = Search()


class Settings(Section):
    """All settings of a node, checked; :func:`cis.api.settings.load` makes it."""

    p2p: P2p = P2p()
    memory: MemorySettings = MemorySettings()
