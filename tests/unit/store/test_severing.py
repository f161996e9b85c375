"""What had been collected of a log stays so when the log is cut off and comes again."""

from __future__ import annotations

from functools import partial

import pytest

from cis.errors import Fault
from cis.model import Dot, Kind, VersionVector
from cis.store.collection import START, Ended, adopt, collect, truncate
from cis.store.stability import give_up_catching_up
from cis.store.store import Store
from tests.audits import self_check
from tests.stores import SPACE, WAIT_S, put, segments, settle, sync, text, write
from tests.unit.store.conftest import Scene, change, refusal, vector


def test_of_a_log_that_comes_again_what_others_replaced_is_dead_though_it_had_been_collected_here(scene: Scene) -> None:
    write(scene.removed, put("k", "a"), put("z", "a"))
    sync(scene.removed, scene.other)
    change(scene.other, Kind.DELETE, "k")
    scene.tell()
    settle(scene.here)
    replica = scene.removed.replica
    told = Ended([Dot(replica, 1)], VersionVector({replica: 1}), vector(scene.here), settled=True)
    scene.here.execute(lambda connection: adopt(connection, SPACE, told)).result(WAIT_S)
    scene.cut(0)
    assert text(scene.here, "z") is None
    scene.law.seqs = None
    sync(scene.removed, scene.here)
    assert text(scene.here, "z") == "a"
    assert text(scene.here, "k") is None


def collect_up_to(store: Store, **seqs: tuple[Store, int]) -> None:
    """Let a peer's floor be taken over, and collect what lies below it."""
    settle(store)
    floor = VersionVector({author.replica: seq for author, seq in seqs.values()})
    told = Ended([], floor, vector(store), settled=True)
    store.execute(lambda connection: adopt(connection, SPACE, told)).result(WAIT_S)
    store.execute(partial(collect, after=START)).result(WAIT_S)
    store.execute(truncate).result(WAIT_S)


@pytest.mark.parametrize("given_up", [False, True])
def test_of_a_log_that_comes_again_what_was_collected_with_what_replaced_it_stays_so(
    scene: Scene, given_up: bool
) -> None:
    write(scene.removed, put("k", "a"), put("z", "a"))
    sync(scene.removed, scene.other)
    change(scene.other, Kind.DELETE, "k")
    scene.tell()
    collect_up_to(scene.here, removed=(scene.removed, 2), other=(scene.other, 1))
    scene.cut(0)
    if given_up:
        scene.here.execute(partial(give_up_catching_up, space=SPACE)).result(WAIT_S)
    assert refusal(scene.here, segments(scene.removed)[0]) is Fault.CUT
    scene.law.seqs = None
    assert refusal(scene.here, segments(scene.removed)[0]) is Fault.BUSY
    sync(scene.removed, scene.here)
    assert (text(scene.here, "k"), text(scene.here, "z")) == (None, "a")
    assert self_check(scene.here).damaged == ()
    with scene.here.snapshot() as reader:
        assert reader.floor(SPACE).contiguous(scene.removed.replica) == (1 if given_up else 2)


def test_a_deletion_is_not_collected_while_what_it_names_is_cut_off(scene: Scene) -> None:
    write(scene.removed, put("k", "a"))
    sync(scene.removed, scene.other)
    change(scene.other, Kind.DELETE, "k")
    scene.tell()
    scene.cut(0)
    collect_up_to(scene.here, removed=(scene.removed, 1), other=(scene.other, 1))
    scene.law.seqs = None
    scene.here.execute(partial(give_up_catching_up, space=SPACE)).result(WAIT_S)
    sync(scene.removed, scene.here)
    assert text(scene.here, "k") is None
