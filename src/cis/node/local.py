"""A node without its network: identity, store and cluster of one home. Commands without a daemon use it as it is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Self

import msgspec

from cis.crdt import Shape
from cis.errors import CisError, StoreError, UsageError
from cis.model import Kind, SpaceId
from cis.node.cluster import Cluster
from cis.node.home import Home
from cis.store.author import Write
from cis.store.ledger import forget_former, load_cluster, save_cluster
from cis.store.read import Reader, Recalled
from cis.store.store import Setting, Store
from cis.trust import (
    PRIVATE,
    PUBLIC,
    ClusterKeys,
    Identity,
    Label,
    Membership,
    create_identity,
    create_store_key,
    found,
    load_identity,
    load_store_key,
    read_entry,
)
from cis.trust.sealing import Entropy, SpaceKeys
from cis.wire.content import Content

WRITES_AT_ONCE = 2048


def system_clock_ms() -> int:
    """Return Unix milliseconds."""
    return time.time_ns() // 1_000_000


class LocalNode:
    """Opened by `open`, made by `create`; a context manager that closes the store."""

    def __init__(
        self,
        home: Home,
        identity: Identity,
        *,
        clock_ms: Callable[[], int] = system_clock_ms,
        entropy: Entropy = os.urandom,
    ) -> None:
        self.home = home
        self.identity = identity
        self.clock_ms = clock_ms
        self.entropy = entropy
        key = load_store_key(home.store_key, identity)
        setting = Setting(
            node=identity.node,
            sign=self._sign_link,
            authority=lambda space: self.cluster.authority(space),  # noqa: PLW0108 - the cluster is loaded below
            judge=lambda node, space, head: self.cluster.judge(node, space, head),  # noqa: PLW0108 - as above
            clock_ms=clock_ms,
            entropy=entropy,
        )
        self.store = Store(home.folder, key, setting)
        try:
            self._load()
        except BaseException:
            self.store.close()
            raise

    @classmethod
    def create(cls, home: Home, name: str, *, entropy: Entropy = os.urandom) -> Self:
        """Make identity, store and a cluster of one; `UsageError` where there is one already."""
        if home.exists:
            raise UsageError(f"{home.folder} already holds a node: `cis status` shows it")
        home.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.folder.chmod(0o700)
        identity = create_identity(home.identity, entropy)
        create_store_key(home.store_key, identity, entropy)
        return cls._found(home, identity, name, entropy)

    @classmethod
    def _found(cls, home: Home, identity: Identity, name: str, entropy: Entropy) -> Self:
        founded = found(identity, name, entropy, system_clock_ms())
        key = load_store_key(home.store_key, identity)
        setting = Setting(identity.node, lambda _: b"", lambda _: b"", lambda *_: None, system_clock_ms, entropy)
        entry = read_entry(founded.entry)
        with Store(home.folder, key, setting) as store:
            store.execute(
                lambda connection: save_cluster(
                    connection, founded.membership.cluster, founded.keys.encode(), [(entry.id, founded.entry)]
                )
            ).result()
        return cls(home, identity, entropy=entropy)

    @classmethod
    def open(cls, home: Home, **options: Callable[..., object]) -> Self:
        """Open an existing home; `UsageError` says to run ``cis init`` where there is none."""
        if not home.exists:
            raise UsageError(f"there is no node in {home.folder} yet: run `cis init` first")
        return cls(home, load_identity(home.identity), **options)  # type: ignore[arg-type] # clock and entropy of tests

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def adopt(self, cluster: bytes, keys: ClusterKeys, membership: Membership) -> None:
        """Become a member of another cluster, taking this node's own public memories along."""
        rows = [(read_entry(raw).id, raw) for raw in membership.entries_missing_from()]
        self.store.execute(lambda connection: save_cluster(connection, cluster, keys.encode(), rows)).result()
        self._load()

    def conflict_count(self) -> int:
        """Return how many public memories have siblings."""
        with self.store.index() as index:
            number = self.store.reader.space_number(self.cluster.public)
            query = "SELECT count(*) FROM doc WHERE space = ? AND siblings > 0"
            count: int = index.execute(query, (number,)).get
        return count

    def public_count(self) -> int:
        """Return how many public memories there are."""
        with self.store.index() as index:
            number = self.store.reader.space_number(self.cluster.public)
            count: int = index.execute("SELECT count(*) FROM doc WHERE space = ?", (number,)).get
        return count

    # --- loading ---------------------------------------------------------------------------------------------

    def _load(self) -> None:
        with self.store.snapshot() as reader:
            record = load_cluster(reader.connection)
        if record is None:
            raise StoreError(
                f"{self.store.path} holds no cluster: put it back from a backup; if this node is new and holds "
                f"nothing yet, remove {self.home.folder} and run `cis init` again"
            )
        self.cluster = Cluster(self.identity, record, self.entropy, self.clock_ms)
        self.cluster.load_invitations(self.store)
        for name, keys in self.cluster.spaces().items():
            self.store.add_space(keys, name, replicated=name != PRIVATE)
        if record.former_keys is not None and record.former_keys != record.keys:
            self._move_in(ClusterKeys.decode(record.former_keys))

    def _move_in(self, former: ClusterKeys) -> None:
        """Write the public memories of the cluster left behind again in this one, then forget its logs."""
        for keys in former.spaces.values():
            self.store.add_space(keys, PUBLIC, replicated=False)
            with self.store.snapshot() as reader:
                writes: list[Write] = []
                for recalled in self._alive(reader, keys):
                    if self.store.reader.recall(self.cluster.public, recalled.key) is None:
                        writes += _again(recalled, self.cluster.public, self.clock_ms())
                    if len(writes) >= WRITES_AT_ONCE:
                        self._write_all(writes)
                        writes = []
                self._write_all(writes)
        spaces = [space for space in former.spaces if space not in self.cluster.keys.spaces]
        self.store.execute(lambda connection: forget_former(connection, spaces)).result()
        self.store.renew_incarnation()
        for space in spaces:
            self.store.keys.pop(space, None)

    def _write_all(self, writes: list[Write]) -> None:
        """Write, or raise the first error: nothing of the former cluster is forgotten before all is written."""
        for outcome in self.store.write(writes).result():
            if isinstance(outcome, CisError):
                raise outcome

    def _alive(self, reader: Reader, keys: SpaceKeys) -> list[Recalled]:
        found = (reader.recall_by_id(memory, keys.space) for memory in reader.memories(keys.space))
        now_ms = self.clock_ms()
        return [recalled for recalled in found if recalled is not None and not recalled.expired(now_ms)]

    def _sign_link(self, message: bytes) -> bytes:
        label = Label.CHANGESET.value
        assert message.startswith(label)
        return self.identity.sign(Label.CHANGESET, message[len(label) :])


def _again(recalled: Recalled, space: SpaceId, now_ms: int) -> list[Write]:
    """The writes that make the same memory anew, with what is left of its time to live."""
    kinds = {Shape.REGISTER: Kind.PUT, Shape.COUNTER: Kind.COUNT, Shape.SET: Kind.ADD}
    contents: list[Content] = [part.content for part in recalled.parts if part.content is not None]
    if recalled.expires_ms:
        left_ms = recalled.expires_ms - now_ms
        contents = [msgspec.structs.replace(content, ttl_ms=left_ms) for content in contents]
    return [Write(space, kinds[recalled.shape], content) for content in contents]


def default_name(host: str) -> str:
    """Return a member's name made from a host's: lower case, other characters as hyphens."""
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in host.split(".", maxsplit=1)[0].lower())
    return kept.strip("-")[:32] or "node"
