"""A node without its network: identity, store and cluster of one home. Commands without a daemon use it as it is."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Self

from cis.errors import CisError, StoreError, UsageError
from cis.model import NodeId, SpaceId
from cis.node.home.folder import Home
from cis.node.home.moving import move_in
from cis.node.home.recording import record_changes
from cis.node.home.renamed import Renamed
from cis.node.home.unfinished import begun_identity
from cis.node.home.unlocking import unlock
from cis.node.membership.cluster import Cluster
from cis.node.membership.governing import Governing, compromised
from cis.store.decisions import Decision, Decisions, read_decisions
from cis.store.ledger import load_cluster, owes_withdrawal, save_cluster
from cis.store.store import Setting, Store
from cis.trust import (
    ClusterKeys,
    Identity,
    Label,
    Membership,
    create_identity,
    create_store_key,
    found,
    load_store_key,
    read_entry,
)
from cis.trust.keyfile import write_identity
from cis.trust.rights import check_scope
from cis.trust.sealing import Entropy
from cis.wire.membership import NO_SPACE, Role

_log = logging.getLogger(__name__)


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
        self.renamed: tuple[Renamed, ...] = ()
        """What was called otherwise when memories were last moved, since this was opened."""
        key = load_store_key(home.store_key, identity)
        setting = Setting(
            node=identity.node,
            sign=self._sign_link,
            authority=lambda space: self.cluster.authority(space),  # noqa: PLW0108 - the cluster is loaded below
            judge=lambda *changeset: self.cluster.judge(*changeset),  # noqa: PLW0108 - as above
            limit=lambda *log: self.cluster.limit(*log),  # noqa: PLW0108 - as above
            clock_ms=clock_ms,
            entropy=entropy,
            beyond_max=lambda: self.cluster.exchange.beyond_max,
        )
        self.store = Store(home.folder, key, setting)
        self._decisions = Decisions(self.store.execute, clock_ms)
        try:
            self._load()
        except BaseException:
            self.store.close()
            raise

    @classmethod
    def create(
        cls,
        home: Home,
        name: str,
        *,
        entropy: Entropy = os.urandom,
        identity: Identity | None = None,
        recovery: NodeId | None = None,
    ) -> Self:
        """Make identity (unless given), store and a cluster of one; `UsageError` where there is one already.

        Where the making of a home was cut short it goes on, with the identity there. ``recovery`` is the identity that
        outranks all admins, if the cluster is to have one.
        """
        begun = begun_identity(home)
        if home.exists and (begun is None or identity not in (None, begun)):
            raise UsageError(f"{home.folder} already holds a node: `cis status` shows it")
        home.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.folder.chmod(0o700)
        if begun is not None:
            identity = begun
        elif identity is None:
            identity = create_identity(home.identity, entropy)
        else:
            write_identity(home.identity, identity, None, b"", entropy)
        if not home.store_key.exists():
            create_store_key(home.store_key, identity, entropy)
        founded = found(identity, name, entropy, system_clock_ms(), recovery or b"")
        store_cluster(home, identity, founded.membership.cluster, founded.keys.encode(), [founded.entry])
        return cls(home, identity, entropy=entropy)

    @classmethod
    def open(cls, home: Home, **options: Callable[..., object]) -> Self:
        """Open an existing home, asking for its passphrase where it has one; raises as `unlock` does."""
        return cls(home, unlock(home), **options)  # type: ignore[arg-type] # clock and entropy of tests

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
                f"{self.store.path} holds no cluster: put it back from a backup; if this node is new and its making "
                "was cut short, `cis init` goes on with it"
            )
        self.cluster = Cluster(self.identity, record, self.entropy, self.clock_ms)
        self.cluster.invitations.load(self.store)
        self.cluster.open_spaces(self.store)
        if self.store.execute(owes_withdrawal).result():
            self.cluster.withdraw(self.store)
        if record.former is not None and record.former_keys is not None and record.former_keys != record.keys:
            self.renamed = move_in(self, record.former, ClusterKeys.decode(record.former_keys))
        self.cluster.on_change(lambda changed: record_changes(self, changed))
        if self.cluster.is_admin and compromised(self.cluster.membership):
            try:
                self.keep_up()
            except CisError as error:
                _log.warning("the keys a removed member knows could not be renewed: %s", error)

    # --- what admins decide ----------------------------------------------------------------------------------

    def revoke(self, node: NodeId, spaces: Sequence[SpaceId] = (), recovery: Identity | None = None) -> None:
        """Remove a member from the cluster, or from some spaces; with the recovery key where no admin is left.

        What it wrote up to now stays, nothing it writes from now on counts, and all keys it knew are renewed. Raises
        `Denied` for a node that is no admin, `UsageError` for a node that cannot be removed.
        """
        self.cluster.issue(self.store, self._governing(recovery).revocation(node, tuple(spaces)))

    def grant(self, node: NodeId, role: Role, spaces: Sequence[SpaceId] = (), recovery: Identity | None = None) -> None:
        """Give a node that is or was a member a role in spaces, the public one where none is named; as `revoke`."""
        check_scope(role, spaces)
        opened = tuple(spaces) or (self.cluster.public,)
        self.cluster.issue(self.store, self._governing(recovery).grant(node, role, opened))

    def rotate(self, space: SpaceId | None = None) -> None:
        """Renew the key of a space; of all, and the discovery key, where none is named. Raises as `revoke`."""
        spaces = (NO_SPACE, *self.cluster.membership.spaces()) if space is None else (space,)
        self.cluster.issue(self.store, self._governing().rotation(spaces))

    def create_space(self, name: str, members: Sequence[NodeId] = ()) -> SpaceId:
        """Make a space that these members share with all admins, and return its id. Raises as `revoke`."""
        known = set(self.cluster.membership.spaces())
        changed = self.cluster.issue(self.store, self._governing().new_space(name, members))
        return next(space for space in changed.spaces if space not in known)

    def keep_up(self) -> bool:
        """Renew keys that removed members know and hand out missing ones, as admins do; False where all is well."""
        return bool(self.cluster.issue(self.store, self._governing().upkeep()).entries)

    def decisions(self, limit: int) -> list[Decision]:
        """Return what was decided about other nodes last, the newest last."""
        try:  # where they are written, so after those that wait to be
            found: list[Decision] = self.store.execute(lambda connection: read_decisions(connection, limit)).result()
        except StoreError:  # a full disk hides nothing of what is on it
            with self.store.snapshot() as reader:
                found = read_decisions(reader.connection, limit)
        return found

    def record(self, what: str, node: NodeId | None, detail: str = "") -> None:
        """Note a decision; returns at once."""
        self._decisions.record(what, node, detail)

    def _governing(self, recovery: Identity | None = None) -> Governing:
        return Governing(self.cluster, recovery or self.identity, self.entropy, self.clock_ms)

    def _sign_link(self, message: bytes) -> bytes:
        label = Label.CHANGESET.value
        assert message.startswith(label)
        return self.identity.sign(Label.CHANGESET, message[len(label) :])


def store_cluster(home: Home, identity: Identity, cluster: bytes, keys: bytes, entries: Iterable[bytes]) -> None:
    """Make the store of a home that has its store's key, with a cluster in it."""
    rows = [(read_entry(raw).id, raw) for raw in entries]
    nobody = Setting(
        identity.node, lambda _: b"", lambda _: b"", lambda *_: None, lambda *_: None, system_clock_ms, os.urandom
    )
    with Store(home.folder, load_store_key(home.store_key, identity), nobody) as store:
        store.execute(lambda connection: save_cluster(connection, cluster, keys, rows)).result()


def default_name(host: str) -> str:
    """Return a member's name made from a host's: lower case, other characters as hyphens."""
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in host.split(".", maxsplit=1)[0].lower())
    return kept.strip("-")[:32] or "node"
