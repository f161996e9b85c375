"""Random lives, then random damage: whatever rows one store lost, an audit with a whole one puts right."""

from __future__ import annotations

import random

import apsw
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cis.store.audit import unheld_bodies
from cis.store.database import fetch
from cis.store.store import Store
from tests.audits import audit, self_check
from tests.property.test_store_merge import HOUR_MS, Mesh, mesh
from tests.stores import SPACE, START_MS, WAIT_S, live_changes, settle, state_hash

LOSSES = ("live", "live0", "dead", "head", "body", "changeset", "collectable")
FLIPS = (
    ("head", "record"),
    ("body", "sealed"),
    ("changeset", "link"),
    ("changeset", "hashes"),
    ("changeset", "header"),
)


def heal(made: Mesh, *, fold: bool) -> None:
    """Bring all in step, their clocks past every date, and fold now and then."""
    for author in made.authors:
        author.clock.ms = START_MS + 3 * HOUR_MS
    made.heal()
    for store in made.stores:
        store.execute(lambda _: None).result(WAIT_S)  # every commit lets changes whose time has come take effect
        if fold:
            settle(store)


def damage(store: Store, chance: random.Random) -> None:
    """Lose or alter a few rows."""

    def task(connection: apsw.Connection) -> None:
        for _ in range(chance.randint(1, 5)):
            if chance.random() < 0.5:
                table = chance.choice(LOSSES)
                row = f"SELECT rid FROM {table} ORDER BY rid LIMIT 1 OFFSET ?"
                bound = (chance.randrange(20),)
                connection.execute(f"DELETE FROM {table} WHERE rid IN ({row})", bound)
            else:
                table, column = chance.choice(FLIPS)
                row = f"SELECT rid, {column} FROM {table} ORDER BY rid LIMIT 1 OFFSET ?"
                for rid, value in fetch(connection, row, (chance.randrange(20),)):
                    at = chance.randrange(len(value))
                    flipped = value[:at] + bytes((value[at] ^ 1 << chance.randrange(8),)) + value[at + 1 :]
                    connection.execute(f"UPDATE {table} SET {column} = ? WHERE rid = ?", (flipped, rid))

    store.execute(task).result(WAIT_S)


@given(st.integers(0, 1 << 32))
@example(11137)  # a changeset is lost, and the next, which nothing proves without it, altered
@example(1925)  # a header is lost, and the row of a tombstone in its changeset
@example(2066)  # a body is altered that nobody needs or has any more
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_rows_are_lost_or_altered_an_audit_puts_right(seed: int) -> None:
    with mesh(seed, 2) as made:
        for _ in range(12):
            made.step()
        heal(made, fold=made.chance.random() < 0.7)
        one, two = made.stores
        before = state_hash(two)
        assert state_hash(one) == before
        found = self_check(two)
        assert (found.damaged, found.suspects, found.ends) == ((), (), ())
        damage(one, made.chance)
        mine, _ = audit(one, two)
        assert state_hash(one) == state_hash(two) == before
        assert mine.here.missing == 0
        found = self_check(one)
        assert (found.damaged, found.suspects, found.ends) == ((), (), ())
        assert live_changes(one) == live_changes(two)
        for store in made.stores:
            with store.snapshot() as reader:
                assert unheld_bodies(reader, SPACE) == []
