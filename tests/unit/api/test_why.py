"""`cis doctor --why`: what became of a memory here is read from the store, and each thing in the way is named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cis.api.embedded import EmbeddedNode
from cis.api.health.explaining import RestingWhy
from cis.api.health.tracing import Fate, Trace, trace
from cis.api.health.why import Case, Standing, Way, judge_here, judge_member
from cis.api.health.why_schema import Device, ExplainMemory
from cis.api.membership.trust_schema import CreateSpace, RevokeMember, ShareSpace
from cis.api.memories.memory_schema import DeleteMemory, SetMemory
from cis.crdt import Policy
from cis.errors import UsageError
from cis.model import Change, Dot, Kind, MemoryId, NodeId, ReplicaId, SpaceId, VersionVector, hlc
from cis.store.stability import save_report
from cis.trust import Member
from cis.trust.acl import REFUSAL, Access, Acl, Mode, Verdict
from cis.wire.membership import Role
from tests import stores
from tests.stores import KEYS, Author, opened, put, write
from tests.unit.api.clocks import Clock
from tests.unit.api.test_trusting import Cluster

HOUR_MS = 3_600_000
NOW_MS = 1_800_000_000_000
SPACE, OTHER = SpaceId(b"S" * 16), SpaceId(b"O" * 16)
AUTHOR = ReplicaId(b"a" * 40)
WRITTEN = Change(Dot(AUTHOR, 7), hlc(NOW_MS), MemoryId(b"m" * 16), Kind.PUT, ())
SHOWN = Trace(SPACE, "notes", Fate.SHOWN, WRITTEN, (WRITTEN.dot,))
PHONE = Member(NodeId(b"p" * 32), "phone", Role.WRITER, {}, b"", 0)
HAS, LACKS = VersionVector({AUTHOR: 7}), VersionVector({AUTHOR: 6})
CASE = Case(
    trace=SHOWN,
    role=Role.WRITER,
    lacks_key=False,
    is_private=False,
    forked=False,
    now_ms=NOW_MS,
    way=Way(
        member=PHONE,
        verdict=Verdict(Access.ADMIT, "the mode is open"),
        mode=Mode.OPEN,
        standing=Standing(connected=True, asked=True, stated={SPACE: HAS}, stated_s=0.0),
        running=True,
        networking=True,
    ),
)


def with_way(case: Case, **changes: Any) -> Case:
    return replace(case, way=replace(case.way, **changes))


def with_standing(case: Case, **changes: Any) -> Case:
    return with_way(case, standing=replace(case.way.standing, **changes))


BEHIND = with_standing(CASE, stated={SPACE: LACKS})
APART = with_way(BEHIND, standing=Standing(stated={SPACE: LACKS}, stated_s=60.0))


def there(case: Case) -> Device:
    return judge_member([case], "phone")


def causes(device: Device) -> dict[str, str]:
    return {row.check: f"{row.found} | {row.fix}" for row in device.rows if row.status != "ok"}


def test_who_states_to_hold_all_of_it_has_it() -> None:
    assert (there(CASE).has, causes(there(CASE))) == ("yes", {})
    assert there(BEHIND).has == "no"
    assert there(with_way(CASE, standing=Standing(connected=True))).has == "unknown"


REFUSED, ALONE = Verdict(Access.REFUSE, "denied by ph*"), Verdict(Access.REFUSE, "the mode is solitary")
UNLISTED = Verdict(Access.REFUSE, "the mode is whitelist, and nothing allows it")
QUARANTINED = Verdict(Access.QUARANTINE, "the mode is quarantine")


@pytest.mark.parametrize(
    ("case", "check", "told"),
    [
        (replace(CASE, is_private=True), "space", "cis memory set KEY VALUE --space public"),
        (replace(CASE, role=None), "space", "cis space share notes phone"),
        (replace(CASE, role=Role.BLIND), "space", "cis acl grant phone reader --space notes"),
        (replace(CASE, lacks_key=True), "key", "admin"),
        (replace(CASE, trace=replace(SHOWN, fate=Fate.DELETED)), "memory", "deleted here"),
        (BEHIND, "changes", "cis p2p sync --node phone"),
        (with_way(BEHIND, running=False), "connection", "cis up --detach"),
        (with_way(BEHIND, networking=False), "connection", "cis config set p2p.enabled true"),
        (with_way(APART, verdict=REFUSED), "access list", 'cis acl deny "ph*" --remove'),
        (with_way(APART, verdict=UNLISTED, mode=Mode.WHITELIST), "access list", "cis acl allow phone"),
        (with_way(APART, verdict=ALONE, mode=Mode.SOLITARY), "access list", "cis acl mode open"),
        (with_way(APART, verdict=QUARANTINED, mode=Mode.QUARANTINE), "access list", "quarantine"),
        (with_standing(APART, banned_s=30.0), "connection", "shut out for 30 s"),
        (with_standing(APART, parted=True), "connection", "cis p2p connect phone"),
        (APART, "connection", "no address of it is known"),
        (with_standing(APART, problem=f"refused: {REFUSAL}"), "connection", "on phone: cis acl show"),
        (replace(BEHIND, forked=True), "author", "cloned"),
        (with_standing(APART, problem="no answer", known=True), "connection", "not connected: no answer"),
        (with_standing(BEHIND, problem="too slow"), "connection", "the exchange fails: too slow"),
        (with_standing(BEHIND, syncing=True), "connection", "under way"),
        (BEHIND, "connection", "not exchanged yet"),
        (with_standing(CASE, skew_ms=-HOUR_MS), "clock", "60 min ahead of the clock of phone"),
    ],
)
def test_each_thing_in_the_way_is_named_with_what_to_type(case: Case, check: str, told: str) -> None:
    device = there(case)
    assert told in causes(device).get(check, ""), device
    assert device.has == "no"
    assert [row for row in device.rows if (row.status == "ok") == bool(row.fix)] == []


def test_a_refused_member_is_told_of_once() -> None:
    assert causes(there(with_way(APART, verdict=REFUSED))).keys() == {"changes", "access list"}


@pytest.mark.parametrize(
    ("fate", "told"),
    [
        (Fate.SHOWN, "written by desk"),
        (Fate.EXPIRED, "time to live"),
        (Fate.DELETED, "deleted in notes by desk"),
        (Fate.HELD, "dated ahead"),
        (Fate.BARE, "its value has not"),
        (Fate.SEALED, "no key of it"),
    ],
)
def test_what_became_of_it_here_is_told(fate: Fate, told: str) -> None:
    (row,) = judge_here([replace(SHOWN, fate=fate, why="no key of it")], lambda _: "desk", NOW_MS)
    assert told in row.found
    assert (row.status == "ok", bool(row.fix)) == (fate is Fate.SHOWN, fate is not Fate.SHOWN)


def test_a_change_dated_ahead_is_traced_where_it_waits(tmp_path: Path) -> None:
    ahead, here = Author(1), Author(2)
    ahead.clock.ms += HOUR_MS
    with opened(tmp_path, ahead, here) as (first, second):
        write(second, put("plan", "old"))
        write(first, put("plan", "new"), put("fresh"))
        stores.sync(first, second)
        with second.snapshot() as reader:
            found = {
                key: trace(reader, KEYS, "public", key, Policy.CRDT, here.clock.ms) for key in ("plan", "fresh", "none")
            }
    assert found["none"] is None
    plan, fresh = found["plan"], found["fresh"]
    assert plan is not None
    assert fresh is not None
    assert (plan.fate, len(plan.coming)) == (Fate.SHOWN, 1)
    assert (fresh.fate, fresh.dots[0].seq) == (Fate.HELD, 2)
    assert "60 min ahead" in judge_here([plan], lambda _: "desk", here.clock.ms)[1].found


# --- a node without a network ---------------------------------------------------------------------------------------


@pytest.fixture
def cluster(node: EmbeddedNode) -> Iterator[Cluster]:
    return Cluster(node)  # type: ignore[return-value] # closed by the fixture it is made of


def why(cluster: Cluster, key: str, **options: Any) -> tuple[Device, ...]:
    found: tuple[Device, ...] = cluster.ask(ExplainMemory(key=key, **options)).devices
    return found


def test_on_this_device_it_is_shown_expired_or_deleted(cluster: Cluster, clock: Clock) -> None:
    cluster.ask(SetMemory(key="plan", value="x"))
    cluster.ask(SetMemory(key="brief", value="x", ttl_s=60))
    cluster.ask(SetMemory(key="old", value="x"))
    cluster.ask(DeleteMemory(key="old"))
    clock.ms += 61_000
    (plan,), (brief,), (old,) = (why(cluster, key) for key in ("plan", "brief", "old"))
    assert (plan.has, brief.has, old.has) == ("yes", "no", "no")
    assert "time to live passed" in causes(brief)["memory"]
    assert "cis memory history old" in causes(old)["memory"]


def test_of_an_unknown_key_the_spelling_that_is_there_is_told(cluster: Cluster) -> None:
    cluster.ask(SetMemory(key="Editor", value="x"))
    (here,) = why(cluster, "editor")
    assert here.has == "no"
    assert "cis doctor --why Editor" in causes(here)["key"]


def test_of_an_unknown_key_a_member_that_is_away_may_know_more(cluster: Cluster) -> None:
    cluster.admit("phone")
    phone = why(cluster, "plan")[1]
    assert phone.has == "unknown"
    assert "on phone: cis doctor --why plan" in causes(phone)["memory"]
    assert "cis up --detach" in causes(phone)["connection"]


def test_without_a_running_node_what_a_member_reported_last_counts(cluster: Cluster) -> None:
    cluster.admit("phone")
    cluster.ask(SetMemory(key="plan", value="x"))
    _, phone = why(cluster, "plan")
    assert (phone.has, causes(phone).keys()) == ("unknown", {"changes", "connection"})
    local = cluster.node.local
    with local.store.snapshot() as reader:
        held = reader.vector(local.cluster.public)
    node = local.cluster.find("phone").node
    local.store.execute(lambda connection: save_report(connection, local.cluster.public, node, held)).result()
    assert why(cluster, "plan", node="phone")[1].has == "yes"


def test_a_member_whose_copy_of_the_log_contradicts_the_one_here_is_found_out(cluster: Cluster) -> None:
    cluster.admit("phone")
    local, public = cluster.node.local, cluster.node.local.cluster.public
    cluster.ask(SetMemory(key="first", value="x"))
    with local.store.snapshot() as reader:
        before = reader.vector(public)
    cluster.ask(SetMemory(key="plan", value="x"))
    resting = RestingWhy(local, Policy.CRDT, cluster.node.readers, running=True)
    node = local.cluster.find("phone").node
    for heads, told in ((before.heads, "connection"), (dict.fromkeys(before.heads, b"another!"), "author")):
        standing = Standing(connected=True, asked=True, stated={public: replace(before, heads=heads)})
        phone = resting.told(ExplainMemory(key="plan"), {node: standing}).devices[1]
        assert (phone.has, causes(phone).keys()) == ("no", {"changes", told})


def test_a_space_that_is_not_shared_with_a_member_is_why(cluster: Cluster) -> None:
    cluster.admit("phone")
    cluster.ask(CreateSpace(name="notes"))
    cluster.ask(SetMemory(key="plan", value="x", space="notes"))
    assert "cis space share notes phone" in causes(why(cluster, "plan", node="phone")[1])["space"]
    cluster.ask(ShareSpace(space="notes", node="phone", role="blind"))
    assert "blind" in causes(why(cluster, "plan", node="phone")[1])["space"]
    cluster.ask(ShareSpace(space="notes", node="phone", role="reader"))
    assert "space" not in causes(why(cluster, "plan", node="phone")[1])


def test_the_access_list_of_this_node_is_why(cluster: Cluster) -> None:
    cluster.admit("phone")
    cluster.ask(SetMemory(key="plan", value="x"))
    cluster.node.local.cluster.acl = Acl(denied=("pho*",))
    assert 'cis acl deny "pho*" --remove' in causes(why(cluster, "plan", node="phone")[1])["access list"]


def test_a_removed_member_is_why_and_a_stranger_is_a_wrong_request(cluster: Cluster) -> None:
    cluster.admit("phone")
    cluster.ask(SetMemory(key="plan", value="x"))
    cluster.ask(RevokeMember(node="phone"))
    assert "removed from the cluster by solo" in causes(why(cluster, "plan", node="phone")[1])["cluster"]
    with pytest.raises(UsageError, match="is no member"):
        why(cluster, "plan", node="tablet")


def test_only_the_space_asked_about_is_looked_at(cluster: Cluster) -> None:
    cluster.ask(SetMemory(key="plan", value="x", space="private"))
    assert why(cluster, "plan")[0].has == "yes"
    assert why(cluster, "plan", space="public")[0].has == "no"
    with pytest.raises(UsageError, match="no space"):
        why(cluster, "plan", space="elsewhere")
