"""Operations on trust, on a store without a network: who may do what, what is refused, and what each answer says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cis.api.control.protocol import Request
from cis.api.embedded import EmbeddedNode
from cis.api.membership.trust_schema import (
    CreateSpace,
    EditAccess,
    GrantRole,
    KeepSpace,
    Kept,
    ListDecisions,
    ListSpaces,
    PlanRevocation,
    RevokeMember,
    RotateKeys,
    ShareSpace,
    ShowAcl,
)
from cis.api.memories.memory_schema import GetMemory, ListMemories, MemoryStats, SearchMemories, SetMemory
from cis.errors import Denied, UsageError
from cis.node.home.folder import Home
from cis.node.home.local import LocalNode
from cis.trust import Identity, Membership
from cis.trust.recovery import recovery_text
from cis.wire.membership import Grant, Role

RECOVERY = Identity(bytes(32))


@dataclass
class Cluster:
    """A founder called ``one``, whose store answers, and members that exist as keys alone."""

    node: EmbeddedNode

    def ask(self, request: Request[Any]) -> Any:
        return self.node.call(request)

    def admit(self, name: str, role: Role = Role.WRITER) -> Identity:
        """Admit a member to the public space."""
        local, identity = self.node.local, Identity.generate(os.urandom)
        cluster = local.cluster
        grant = Grant(identity.node, identity.sealing_public, name, role, (cluster.public,))

        def build(_: object, log: Membership) -> list[bytes]:
            raw = log.grant(local.identity, grant, cluster.keys, os.urandom, local.clock_ms())
            log.add(raw)
            return [raw]

        cluster.issue(local.store, build)
        return identity

    def spaces(self) -> dict[str, Any]:
        return {one.name: one for one in self.ask(ListSpaces())}

    def roles(self, name: str) -> dict[str, str]:
        (found,) = (one.spaces for one in self.ask(ShowAcl()).members if one.name == name)
        return dict(found)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with EmbeddedNode(LocalNode.create(Home(tmp_path / "home"), "one", recovery=RECOVERY.node)) as node:
        yield Cluster(node)


def test_a_member_has_the_role_it_was_granted_in_each_space(cluster: Cluster) -> None:
    cluster.admit("phone")
    cluster.ask(CreateSpace(name="notes"))
    assert cluster.roles("phone") == {"public": "writer"}
    granted = cluster.ask(ShareSpace(space="notes", node="phone", role="reader"))
    assert granted.changed
    assert cluster.roles("phone") == granted.spaces == {"notes": "reader", "public": "writer"}
    assert not cluster.ask(ShareSpace(space="notes", node="phone", role="reader")).changed
    assert cluster.ask(GrantRole(node="phone", role="writer", spaces=("notes",))).spaces["notes"] == "writer"
    assert cluster.roles("one") == {"notes": "admin", "public": "admin"}


def test_a_grant_takes_nothing_away_and_says_what_does(cluster: Cluster) -> None:
    cluster.admit("phone")
    with pytest.raises(UsageError, match=r"phone is writer in public.*cis acl revoke phone --space public"):
        cluster.ask(GrantRole(node="phone", role="reader"))
    cluster.ask(GrantRole(node="phone", role="admin"))
    with pytest.raises(UsageError, match=r"phone is admin in public.*`cis acl revoke phone`"):
        cluster.ask(GrantRole(node="phone", role="writer"))


def test_a_removed_member_is_shown_with_who_removed_it_and_can_be_granted_a_role_again(cluster: Cluster) -> None:
    phone = cluster.admit("phone")
    done = cluster.ask(RevokeMember(node="phone"))
    assert (done.name, done.heard, done.unheard) == ("phone", (), ())
    shown = cluster.ask(ShowAcl())
    assert [member.name for member in shown.members] == ["one"]
    assert [(one.name, one.did, one.by, one.spaces) for one in shown.removed] == [("phone", phone.did, "one", ())]
    assert {one.space: (one.earlier, one.usable) for one in shown.keys} == {"discovery": (1, True), "public": (1, True)}
    cluster.ask(GrantRole(node="phone", role="reader"))
    assert cluster.roles("phone") == {"public": "reader"}
    assert cluster.ask(ShowAcl()).removed == ()


def test_one_space_can_be_taken_away_and_the_rest_stays(cluster: Cluster) -> None:
    cluster.admit("phone")
    cluster.ask(CreateSpace(name="notes", members=("phone",)))
    plan = cluster.ask(PlanRevocation(node="phone", spaces=("notes",)))
    assert (plan.whole, plan.spaces, plan.new_keys) == (False, ("notes",), ("notes",))
    cluster.ask(RevokeMember(node="phone", spaces=("notes",)))
    assert cluster.roles("phone") == {"public": "writer"}
    assert [(one.name, one.spaces) for one in cluster.ask(ShowAcl()).removed] == [("phone", ("notes",))]
    keys = {one.space: one.earlier for one in cluster.ask(ShowAcl()).keys}
    assert keys == {"discovery": 0, "public": 0, "notes": 1}


def test_a_plan_names_all_that_is_lost_and_renewed_and_does_nothing(cluster: Cluster) -> None:
    cluster.admit("phone")
    cluster.ask(CreateSpace(name="notes"))
    cluster.ask(ShareSpace(space="notes", node="phone", role="blind"))
    plan = cluster.ask(PlanRevocation(node="phone"))
    assert (plan.whole, plan.spaces, plan.new_keys) == (True, ("notes", "public"), ("discovery", "public"))
    assert cluster.roles("phone") == {"notes": "blind", "public": "writer"}


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (RevokeMember(node="one"), "this very node"),
        (RevokeMember(node="nobody"), "is no member"),
        (RevokeMember(node="phone", spaces=("notes",)), "is no space"),
        (RevokeMember(node="phone", spaces=("private",)), "this node's alone"),
        (RevokeMember(node="admin", spaces=("public",)), "an admin, who has a part in every space"),
        (RevokeMember(node="phone", recovery_key="abcd"), "recovery key"),
        (GrantRole(node="one", role="writer"), "this very node"),
        (GrantRole(node="phone", role="writer", spaces=("private",)), "this node's alone"),
        (GrantRole(node="phone", role="admin", spaces=("public",)), "an admin is one in every space"),
        (CreateSpace(name="public"), "already"),
        (CreateSpace(name="private"), "already"),
        (CreateSpace(name="notes", members=("nobody",)), "is no member"),
        (ShareSpace(space="nowhere", node="phone"), "is no space"),
        (ListDecisions(limit=0), "1 to 10000"),
        (RotateKeys(spaces=("nowhere",)), "is no space"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_reason_and_nothing_changes(
    cluster: Cluster, request_: Request[Any], says: str
) -> None:
    cluster.admit("phone")
    cluster.admit("admin", Role.ADMIN)
    before = cluster.ask(ShowAcl())
    with pytest.raises(UsageError, match=says):
        cluster.ask(request_)
    assert cluster.ask(ShowAcl()) == before


def test_a_removal_says_which_tickets_still_admit_whoever_holds_them(cluster: Cluster) -> None:
    local = cluster.node.local
    cluster.admit("phone")
    local.cluster.invite(local.store, Role.READER, "tablet", 60_000, ())
    expired = local.cluster.invite(local.store, Role.READER, "late", 0, ())
    done = cluster.ask(RevokeMember(node="phone"))
    assert [(one.role, one.name) for one in done.tickets] == [("reader", "tablet")]
    assert done.tickets[0].expires_ms >= expired.expires_ms


def test_a_recovery_key_of_another_cluster_removes_nobody(cluster: Cluster) -> None:
    cluster.admit("phone")
    with pytest.raises(Denied):
        cluster.ask(RevokeMember(node="phone", recovery_key=recovery_text(Identity(b"x" * 32))))
    assert cluster.roles("phone") == {"public": "writer"}
    cluster.admit("tablet")
    done = cluster.ask(RevokeMember(node="phone", recovery_key=recovery_text(RECOVERY)))
    assert (done.heard, done.unheard) == ((), ("tablet",))
    assert [(one.name, one.by) for one in cluster.ask(ShowAcl()).removed] == [("phone", "the recovery key")]


def test_new_keys_are_counted_and_dated(cluster: Cluster) -> None:
    cluster.ask(CreateSpace(name="notes"))
    assert cluster.ask(RotateKeys(spaces=("notes",))).keys == ("notes",)
    assert cluster.ask(RotateKeys()).keys == ("discovery", "public", "notes")
    keys = {one.space: one for one in cluster.ask(ShowAcl()).keys}
    assert {name: one.earlier for name, one in keys.items()} == {"discovery": 1, "public": 1, "notes": 2}
    assert all(one.since_ms is not None for one in keys.values())


def test_a_named_space_keeps_its_memories_apart(cluster: Cluster) -> None:
    cluster.ask(CreateSpace(name="notes"))
    cluster.ask(SetMemory(key="k", value="in notes", space="notes"))
    cluster.ask(SetMemory(key="k", value="in public"))
    assert cluster.ask(GetMemory(key="k", space="notes")).value == "in notes"
    assert [one.space for one in cluster.ask(ListMemories(space="notes")).memories] == ["notes"]
    assert [one.memory.space for one in cluster.ask(SearchMemories(query="notes", space="notes")).hits] == ["notes"]
    assert {one.name: one.memories for one in cluster.ask(MemoryStats()).spaces} == {
        "public": 1,
        "notes": 1,
        "private": 0,
    }
    with pytest.raises(UsageError, match="nowhere"):
        cluster.ask(SetMemory(key="k", value="v", space="nowhere"))


def test_spaces_are_listed_with_their_members_and_what_is_stored(cluster: Cluster) -> None:
    cluster.admit("phone")
    cluster.ask(CreateSpace(name="notes", members=("phone",)))
    cluster.ask(SetMemory(key="k", value="v" * 500, space="notes"))
    found = cluster.spaces()
    assert list(found) == ["public", "notes", "private"]
    notes = found["notes"]
    assert [(one.name, one.role) for one in notes.members] == [("one", "admin"), ("phone", "writer")]
    assert (notes.role, notes.readable, notes.usable, notes.memories, notes.changes) == ("admin", True, True, 1, 1)
    assert notes.bytes > 500
    assert (found["private"].role, found["private"].members) == (None, ())


def test_a_space_is_found_by_the_beginning_of_its_id_too(cluster: Cluster) -> None:
    made = cluster.ask(CreateSpace(name="notes"))
    cluster.admit("phone")
    cluster.ask(ShareSpace(space=made.id[:8], node="phone"))
    assert cluster.roles("phone")["notes"] == "writer"
    with pytest.raises(UsageError, match="is no space"):
        cluster.ask(ShareSpace(space=made.id[:3], node="phone"))


def test_decisions_are_remembered_newest_first_under_the_names_nodes_had(cluster: Cluster) -> None:
    cluster.admit("phone")
    cluster.ask(RevokeMember(node="phone"))
    cluster.ask(EditAccess(verb="deny", pattern="old-*"))
    found = cluster.ask(ListDecisions(limit=100))
    assert (found[0].what, found[0].detail) == ("denied", "old-*")
    assert {("revoked", "phone"), ("granted", "phone")} <= {(one.what, one.node) for one in found}
    assert [one.at_ms for one in found] == sorted((one.at_ms for one in found), reverse=True)
    assert len(cluster.ask(ListDecisions(limit=2))) == 2


def test_a_removed_node_can_still_look_at_what_it_has_and_change_nothing(cluster: Cluster) -> None:
    cluster.admit("phone")
    cluster.ask(SetMemory(key="k", value="v"))
    local = cluster.node.local
    local.revoke(local.identity.node, (), RECOVERY)
    shown = cluster.ask(ShowAcl())
    assert [one.name for one in shown.members] == ["phone"]
    assert [(one.name, one.by) for one in shown.removed] == [("one", "the recovery key")]
    assert cluster.ask(GetMemory(key="k")).value == "v"
    assert "private" in cluster.spaces()
    for request in (
        SetMemory(key="k", value="w"),
        PlanRevocation(node="phone"),
        RevokeMember(node="phone"),
        GrantRole(node="phone", role="admin"),
        RotateKeys(),
        CreateSpace(name="notes"),
    ):
        with pytest.raises(Denied):
            cluster.ask(request)


def test_a_device_says_how_much_of_a_space_it_keeps_and_whether_somebody_keeps_all_of_it(cluster: Cluster) -> None:
    assert cluster.spaces()["public"].keeps.vectors
    assert cluster.node.status().elsewhere == {}
    kept = cluster.ask(KeepSpace(space="public", keeps=Kept(vectors=False)))
    assert (kept.keeps.vectors, kept.elsewhere, kept.kept_by) == (False, 0, ())
    assert not cluster.spaces()["public"].keeps.vectors
    assert (cluster.node.status().elsewhere, cluster.node.status().unbacked) == ({"public": 0}, ("public",))
    cluster.ask(KeepSpace(space="public"))
    assert (cluster.spaces()["public"].keeps.vectors, cluster.node.status().elsewhere) == (True, {})


@pytest.mark.parametrize("space", ["private", "nowhere"])
def test_of_no_other_space_than_a_shared_one_anything_is_left_to_others(cluster: Cluster, space: str) -> None:
    with pytest.raises(UsageError, match=space):
        cluster.ask(KeepSpace(space=space, keeps=Kept(vectors=False)))
