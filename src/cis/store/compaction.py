"""Folding behind the merge: bodies of replaced changes go or are hidden, fresh live rows join the others in order.

A body that is elsewhere by choice (`cis.store.keeping`) goes or is hidden as one that is here.
"""

from __future__ import annotations

from array import array

import apsw

SLICE = 4096
"""Rows per step, so that a step holds the writer for some ten milliseconds at most."""
_UNHIDDEN = "SELECT d.rid FROM carray(?) n CROSS JOIN dead d ON d.rid = n.value WHERE NOT d.until"


def compact(connection: apsw.Connection) -> bool:
    """Do one step, in the caller's transaction; True while there is more to do."""
    return _bury(connection) or _fold(connection)


def trim_journal(connection: apsw.Connection, indexed: int) -> bool:
    """Remove what the index has passed, in the caller's transaction; True if there was any."""
    connection.execute("DELETE FROM journal WHERE no <= ?", (indexed,))
    return connection.changes() > 0


def _bury(connection: apsw.Connection) -> bool:
    """Remove a slice of replaced changes from the live rows, and the bodies nobody may need; their headers stay."""
    rids = [rid for (rid,) in connection.execute("SELECT rid FROM dead ORDER BY rid LIMIT ?", (SLICE,))]
    if not rids:
        return False
    gone = apsw.carray(array("q", rids))
    connection.execute(
        "INSERT OR IGNORE INTO collectable SELECT substr(h.record, 9, 16), h.rid "
        "FROM carray(?) n CROSS JOIN head h ON h.rid = n.value ORDER BY 1, 2",
        (gone,),
    )
    for table in ("live0", "live"):
        connection.execute(
            f"DELETE FROM {table} WHERE (memory, rid) IN (SELECT substr(h.record, 9, 16), h.rid "
            "FROM carray(?) n CROSS JOIN head h ON h.rid = n.value)",
            (gone,),
        )
    connection.execute(
        "INSERT OR IGNORE INTO hidden SELECT d.rid, d.until FROM carray(?) n CROSS JOIN dead d ON d.rid = n.value "
        "WHERE d.until AND EXISTS (SELECT 1 FROM body b WHERE b.rid = d.rid UNION ALL "
        "SELECT 1 FROM absent a WHERE a.rid = d.rid)",
        (gone,),
    )
    chosen = "SELECT value FROM carray(?)" if not connection.changes() else _UNHIDDEN
    for table in ("body", "absent", "name"):
        connection.execute(f"DELETE FROM {table} WHERE rid IN ({chosen})", (gone,))
    connection.execute("DELETE FROM dead WHERE rid IN (SELECT value FROM carray(?))", (gone,))
    return True


def _fold(connection: apsw.Connection) -> bool:
    """Move a slice of fresh live rows, lowest memory ids first."""
    query = "SELECT memory, rid FROM live0 ORDER BY memory, rid LIMIT 1 OFFSET ?"
    bound = connection.execute(query, (SLICE,)).fetchone()
    where, bindings = ("", ()) if bound is None else ("WHERE (memory, rid) < (?, ?)", bound)
    connection.execute(f"INSERT OR IGNORE INTO live SELECT memory, rid FROM live0 {where}", bindings)
    connection.execute(f"DELETE FROM live0 {where}", bindings)
    return bound is not None
