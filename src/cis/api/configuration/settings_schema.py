"""Every setting there is: its type, its default and what it means.

The names are those people know from the system cis succeeds. From these definitions come the checks, the reference
page, `cis config list` and `cis config sample`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, SecretStr, ValidationInfo, model_validator

from cis.api.configuration.settings_kinds import (
    AnchorUrl,
    EmbedderUrl,
    EndpointOrAuto,
    Endpoints,
    Listed,
    ListenAddress,
    Multiaddr,
    OneOrListed,
    Patterns,
    Plugins,
    Port,
    Seconds,
    Section,
    StaticPeers,
    StunServer,
    TokenCheck,
    TurnUrl,
    Weight,
    is_whole,
    live,
)
from cis.api.configuration.settings_limits import Bandwidth, ConnectionPool, Limits
from cis.api.configuration.settings_watch import Log, Metrics
from cis.discovery.address import PORT_DEFAULT
from cis.embedding.choosing import EmbeddingOptions, Provider
from cis.embedding.embedder import MODEL_BYTES_MAX

if TYPE_CHECKING:
    from cis.discovery.static import StaticPeer
    from cis.trust.acl import Acl

SERVERS_MAX = 16
"""STUN servers, and relays, at most."""
ENTRIES_MAX = 32
"""Entry points of libp2p's network, at most."""


class Libp2p(Section):
    """libp2p's hash table."""

    enabled: bool = Field(
        default=False, description="find nodes through libp2p's hash table; needs pip install 'cis-node[libp2p]'"
    )
    bootstrap: Annotated[tuple[Multiaddr, ...], Field(max_length=ENTRIES_MAX), Listed] = Field(
        (), description="entry points of your own, as multiaddrs; tried before the public ones"
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
        (),
        examples=[["bootstrap.example.net:7678"]],
        description="entry points of the DHT of your own, as host:port; tried before the public ones",
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
    endpoint: Annotated[tuple[AnchorUrl, ...], Field(max_length=8), OneOrListed] = Field(
        (),
        examples=[["https://anchor.example.net"]],
        description="the anchor's https:// address, or several; http:// only for a local address",
    )
    register_interval: Annotated[float, Field(ge=10, le=1800)] = Field(
        300.0, description="seconds between registrations"
    )
    token: Annotated[SecretStr, Field(max_length=256)] = Field(SecretStr(""), description="what the anchor lets in by")
    ca_file: str = Field("", description="a file of certificates to trust for the anchor, in place of the system's")

    @model_validator(mode="after")
    def _somewhere(self, info: ValidationInfo) -> CloudAnchor:
        if is_whole(info) and self.enabled and not self.endpoint:
            raise ValueError("enabled needs an endpoint: the anchor's https:// address")
        return self


class Peers(Section):
    """Nodes whose addresses are known."""

    static_peers: StaticPeers = live(
        (),
        examples=[["did:cis:workstation@192.168.1.100:7677"]],
        description="peers to connect to, as did:cis:NAME@host:port or did:key:z6Mk…@host:port",
    )

    def parsed(self) -> tuple[StaticPeer, ...]:
        """The static peers, read."""
        from cis.discovery.static import StaticPeer  # noqa: PLC0415 - loads asyncio, which most commands do without

        return tuple(StaticPeer.parse(text) for text in self.static_peers)


class Nat(Section):
    """The router in between."""

    enable_upnp: bool = Field(
        default=False, description="ask the router to forward a port, by UPnP-IGD, NAT-PMP or PCP"
    )


class TurnServer(Section):
    """A relay, and what it asks for."""

    url: TurnUrl
    username: Annotated[str, Field(max_length=512)] = ""
    credential: Annotated[SecretStr, Field(max_length=512)] = SecretStr("")


class Ice(Section):
    """Paths through address translation."""

    stun_servers: Annotated[tuple[StunServer, ...], Field(max_length=SERVERS_MAX), Listed] = Field(
        (),
        examples=[["stun.example.net:3478"]],
        description="servers that tell a node its public address, as host:port",
    )
    use_public_stun: bool = Field(
        default=False,
        description="ask public STUN servers too; they see this node's public address and that it uses STUN",
    )
    turn_servers: Annotated[tuple[TurnServer, ...], Field(max_length=SERVERS_MAX), Listed] = Field(
        (),
        examples=[[{"url": "turn:turn.example.net:3478", "username": "user", "credential": "pass"}]],
        description="relays: url (turn:host:port?transport=udp or tcp, or turns:host:port), username, credential",
    )


class AccessList(Section):
    """Which of the members this node connects with; who is no member it never does."""

    mode: Literal["open", "whitelist", "solitary", "quarantine"] = live(
        "open",
        description="open: all members but the denied; whitelist: only the allowed; solitary: nobody; "
        "quarantine: connected, and nothing is exchanged",
    )
    whitelist_only: bool = live(default=False, description="another way to say that the mode is whitelist")
    whitelist: Patterns = live((), description="members allowed, as did:cis:NAME with * and ?, or did:key:z6Mk…")
    blacklist: Patterns = live((), description="members denied, whatever allows them")

    @model_validator(mode="after")
    def _one_mode(self, info: ValidationInfo) -> AccessList:
        said = "mode" in self.model_fields_set and self.mode != "whitelist"
        if is_whole(info) and self.whitelist_only and said:
            raise ValueError(f"whitelist_only = true and mode = {self.mode}: drop one of the two")
        return self

    def parsed(self) -> Acl:
        """The access list, as connections are judged by it."""
        from cis.trust.acl import Acl, Mode  # noqa: PLC0415 - loads all of trust, which most commands do without

        mode = Mode.WHITELIST if self.whitelist_only else Mode(self.mode)
        return Acl(mode, self.whitelist, self.blacklist)


class PublicMemory(Section):
    """How the public space is exchanged."""

    enabled: bool = live(default=True, description="exchange the public space with other members")
    priority: Literal["low", "normal", "high"] = live(
        "normal", description="its turn where several spaces are exchanged: high, before the others; low, after them"
    )


class Sync(Section):
    """How memories are exchanged and merged."""

    interval: Seconds = live(60.0, description="seconds between comparisons with a connected peer")
    batch_size: int = live(
        1000,
        ge=1,
        le=10_000,
        description="changesets after which a frame of a sync ends, at the next signature; it does at half a MiB too",
    )
    conflict_resolution: Literal["lww", "vector_clock", "crdt"] = Field(
        "crdt", description="what is shown where edits conflict: lww hides the losers, the others list them"
    )
    collect_history: bool = live(
        default=False, description="drop what was replaced or deleted once every member has had it"
    )
    public_memory: PublicMemory = PublicMemory()


class P2p(Section):
    """Everything between nodes."""

    enabled: bool = Field(default=True, description="open a socket at all")
    listen_address: ListenAddress = Field(
        "::", description="the address to listen on; :: is IPv6 and IPv4, or IPv4 alone where there is no other"
    )
    listen_port: Port = Field(PORT_DEFAULT, description="the UDP port to listen on, 0 for any")
    external_address: EndpointOrAuto = Field(
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
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _ports_apart(self, info: ValidationInfo) -> P2p:
        same = self.listen_port and self.listen_port == self.discovery.dht_port and self.discovery.enable_dht
        if is_whole(info) and same:
            raise ValueError(
                f"listen_port and discovery.dht_port are both {self.listen_port}: one port holds one socket"
            )
        return self


class Embedding(Section):
    """What turns memories into vectors, so that they are found by what they mean."""

    provider: Provider = Field(
        "auto", description="auto: the local model where it is installed; minilm: that one; http: a server; off: none"
    )
    url: EmbedderUrl = Field(
        "", description="with http: an OpenAI-compatible server, as https://HOST/v1, before /embeddings"
    )
    model: Annotated[str, Field(max_length=MODEL_BYTES_MAX, pattern=r"^[!-~]*$")] = Field(
        "", description="with http: the model to ask for; vectors carry its name"
    )
    token: Annotated[SecretStr, Field(max_length=512), TokenCheck] = Field(
        SecretStr(""), description="what the server lets in by"
    )
    private: bool = Field(default=False, description="give a server what stands in the private space too")
    unload_after: Seconds = Field(300.0, description="seconds without use after which the model's memory is given back")

    @model_validator(mode="after")
    def _whom_to_ask(self, info: ValidationInfo) -> Embedding:
        whole = self.url and self.model
        if is_whole(info) and self.provider == "http" and not whole:
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

    @model_validator(mode="after")
    def _something_counts(self, info: ValidationInfo) -> Search:
        if is_whole(info) and not self.word_weight and not self.meaning_weight:
            raise ValueError("word_weight and meaning_weight are both 0: nothing would be found")
        return self


class MemorySettings(Section):
    """How memories are found again."""

    embedding: Embedding = Embedding()
    search: Search = Search()


class Settings(Section):
    """All settings of a node, checked; :func:`cis.api.configuration.settings.load` makes it."""

    p2p: P2p = P2p()
    memory: MemorySettings = MemorySettings()
    log: Log = Log()
    metrics: Metrics = Metrics()
