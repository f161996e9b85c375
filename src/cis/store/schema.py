"""The two files of the store, as migrations: memory.db is the truth, index.db can be rebuilt from it.

A row of a replica's log is named by ``rid = replica number << 40 | sequence number``, so that rows lie
clustered by log order and one integer stands for a dot. Merging only appends: ``live0`` takes new rows and
``dead`` the rows replaced; both are folded into ``live`` behind the merge, in order of memory id.
"""

from __future__ import annotations

MEMORY_MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE meta(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    -- a space's number; name is only for people; keys is sealed by page encryption like everything here
    CREATE TABLE space(no INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, name TEXT NOT NULL,
        replicated INT NOT NULL);
    -- the log of one replica in one space: seq is the end of what is held without a gap, link its hash chain
    CREATE TABLE replica(no INTEGER PRIMARY KEY, space INT NOT NULL REFERENCES space(no), id BLOB NOT NULL,
        seq INT NOT NULL DEFAULT 0, link BLOB NOT NULL, floor INT NOT NULL DEFAULT 0, UNIQUE(space, id));
    -- one changeset, named by the rid of its first change; previous only where it was received beyond a gap
    CREATE TABLE changeset(rid INTEGER PRIMARY KEY, header BLOB NOT NULL, refs BLOB NOT NULL,
        hashes BLOB NOT NULL, link BLOB NOT NULL, signature BLOB, previous BLOB);
    CREATE TABLE head(rid INTEGER PRIMARY KEY, record BLOB NOT NULL);
    CREATE TABLE body(rid INTEGER PRIMARY KEY, sealed BLOB NOT NULL);
    CREATE TABLE live(memory BLOB NOT NULL, rid INT NOT NULL, PRIMARY KEY(memory, rid)) WITHOUT ROWID;
    CREATE TABLE live0(memory BLOB NOT NULL, rid INT NOT NULL, PRIMARY KEY(memory, rid)) WITHOUT ROWID;
    CREATE TABLE dead(rid INTEGER PRIMARY KEY);
    -- what changes named before it arrived: of replica no, the rows low..high of the memory
    CREATE TABLE pending(replica INT NOT NULL, high INT NOT NULL, memory BLOB NOT NULL, low INT NOT NULL,
        PRIMARY KEY(replica, high, memory, low)) WITHOUT ROWID;
    -- changes dated too far ahead to take effect yet; dead: never to be shown, yet replacing in their time
    CREATE TABLE held(memory BLOB NOT NULL, rid INT NOT NULL, hlc INT NOT NULL,
        dead INT NOT NULL DEFAULT 0, PRIMARY KEY(memory, rid)) WITHOUT ROWID;
    CREATE INDEX held_by_hlc ON held(hlc);
    -- memories touched by each commit, for the index; trimmed behind it
    CREATE TABLE journal(no INTEGER PRIMARY KEY AUTOINCREMENT, space INT NOT NULL, replica INT NOT NULL,
        memories BLOB NOT NULL);
    CREATE TABLE membership(id BLOB PRIMARY KEY, entry BLOB NOT NULL, no INT NOT NULL) WITHOUT ROWID;
    CREATE TABLE invitation(id BLOB PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
    """,
    """
    -- up to base nothing of the log is kept; up to floor (above) changes may have been collected one by one: then
    -- the head row is gone, and the slot in hashes holds the leaf of the change in place of the hash of its body
    ALTER TABLE replica ADD COLUMN base INT NOT NULL DEFAULT 0;
    -- replaced changes and tombstones: what may be collected once it is stable
    CREATE TABLE collectable(memory BLOB NOT NULL, rid INT NOT NULL, PRIMARY KEY(memory, rid)) WITHOUT ROWID;
    INSERT INTO collectable SELECT substr(record, 9, 16), rid FROM head
        WHERE substr(record, 33, 1) IN (x'00', x'04')
        OR (substr(record, 9, 16), rid) NOT IN (SELECT memory, rid FROM live UNION ALL SELECT memory, rid FROM live0
            UNION ALL SELECT memory, rid FROM held);
    -- what each member last reported to hold of a space, rows of replica (40 bytes) and number (8); and for how long
    -- this node has not heard from it, as far as it was there to hear
    CREATE TABLE report(space INT NOT NULL, node BLOB NOT NULL, vector BLOB NOT NULL, silent_ms INT NOT NULL,
        PRIMARY KEY(space, node)) WITHOUT ROWID;
    """,
    """
    -- what was decided about other nodes, and by whom of this node's users; node is NULL for a stranger
    CREATE TABLE decision(no INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INT NOT NULL, what TEXT NOT NULL, node BLOB,
        detail TEXT NOT NULL, count INT NOT NULL);
    """,
    """
    -- the row up to which a log must be stable before the body goes of what a change there has replaced; 0: at once
    ALTER TABLE dead ADD COLUMN until INT NOT NULL DEFAULT 0;
    ALTER TABLE pending ADD COLUMN until INT NOT NULL DEFAULT 0;
    -- replaced changes whose body is kept as yet: what has replaced them may still be withdrawn
    CREATE TABLE hidden(rid INTEGER PRIMARY KEY, until INT NOT NULL);
    CREATE INDEX hidden_by_until ON hidden(until);
    -- of a log that was cut, what follows up to a signature, as leaves alone; named by the row it begins with
    CREATE TABLE tail(rid INTEGER PRIMARY KEY, segment BLOB NOT NULL);
    -- of floor, what this node worked out itself from what all members reported: no removal cuts below that
    ALTER TABLE replica ADD COLUMN stable INT NOT NULL DEFAULT 0;
    """,
    """
    -- numbers low..high of a log had been collected here when it was cut: they are, too, should it come again
    CREATE TABLE severed(replica INT NOT NULL, low INT NOT NULL, high INT NOT NULL,
        PRIMARY KEY(replica, low)) WITHOUT ROWID;
    """,
    """
    -- bodies that are elsewhere by choice; wanted: such a one is to come back
    CREATE TABLE absent(rid INTEGER PRIMARY KEY, wanted INT NOT NULL DEFAULT 0);
    -- the number of the policy a member reported, empty where it keeps everything; and those it had heard of others
    ALTER TABLE report ADD COLUMN number BLOB NOT NULL DEFAULT x'';
    ALTER TABLE report ADD COLUMN known BLOB NOT NULL DEFAULT x'';
    """,
    """
    -- what is listed of values that are elsewhere by choice, and by what it is judged which may be (`cis.store.names`)
    CREATE TABLE name(rid INTEGER PRIMARY KEY, name BLOB NOT NULL);
    """,
)

INDEX_MIGRATIONS: tuple[str, ...] = (
    "",  # an index of the first form is made anew: what it held goes with the next
    """
    DROP TABLE IF EXISTS progress;
    DROP TABLE IF EXISTS doc;
    DROP TABLE IF EXISTS unread;
    DROP TABLE IF EXISTS text;
    CREATE TABLE progress(one INTEGER PRIMARY KEY CHECK(one = 1), source BLOB NOT NULL, journal INT NOT NULL,
        -- while the index is being made anew: the last memory done
        rebuilt BLOB,
        -- rows of the full text deleted whose words may still be in its segments
        forgotten INT NOT NULL DEFAULT 0);
    -- digest names the text a model is given of the memory, NULL where there is none
    CREATE TABLE doc(no INTEGER PRIMARY KEY, memory BLOB NOT NULL UNIQUE, space INT NOT NULL,
        key TEXT NOT NULL, category TEXT NOT NULL, tags TEXT NOT NULL, shape TEXT NOT NULL,
        hlc INT NOT NULL, author BLOB NOT NULL, expires_ms INT NOT NULL, siblings INT NOT NULL,
        bytes INT NOT NULL, digest BLOB);
    -- memories that could not be read, to be tried again when keys come
    CREATE TABLE unread(memory BLOB PRIMARY KEY, space INT NOT NULL) WITHOUT ROWID;
    -- memories that are gone, but for vectors this node is to take back
    CREATE TABLE dangling(memory BLOB PRIMARY KEY, space INT NOT NULL, key TEXT NOT NULL) WITHOUT ROWID;
    CREATE INDEX doc_by_key ON doc(key, space);
    CREATE INDEX doc_by_siblings ON doc(siblings) WHERE siblings > 0;
    CREATE VIRTUAL TABLE text USING fts5(key, value, tags, content='', contentless_delete=1,
        tokenize="unicode61 remove_diacritics 2", prefix='2 3');
    -- embedding models; wanted is 1 for those of which it is kept what lacks their vector
    CREATE TABLE model(no INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, wanted INT NOT NULL DEFAULT 0);
    -- vectors of length 1, float32 little-endian, named by model << 40 | doc; origin: see `cis.store.indexing`
    CREATE TABLE vec(no INTEGER PRIMARY KEY, doc INT NOT NULL, model INT NOT NULL, origin INT NOT NULL,
        bytes INT NOT NULL, vector BLOB NOT NULL);
    CREATE INDEX vec_by_doc ON vec(doc, model);
    CREATE INDEX vec_by_model ON vec(model, bytes);
    CREATE TABLE wanted(model INT NOT NULL, hlc INT NOT NULL, doc INT NOT NULL, space INT NOT NULL,
        expires_ms INT NOT NULL, PRIMARY KEY(model, hlc, doc)) WITHOUT ROWID;
    """,
    "CREATE INDEX doc_by_time ON doc(hlc);",
)
