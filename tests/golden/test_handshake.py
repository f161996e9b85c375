"""A whole handshake as each version of the protocol speaks it, to the byte; keys, nonces and membership are given.

What is signed and proved (labels, transcript, codes) shows in the bytes, so two versions that pass this can meet.
`python -m tests.golden.test_handshake` writes the file anew; a new version of the protocol gets a file of its own.
"""

from __future__ import annotations

import json
from pathlib import Path

from cis.trust.handshake import Authenticated
from cis.trust.membership import Membership
from tests.unit.trust.cluster import Cluster, identity, meeting

FILE = Path(__file__).with_name("handshake_v1.json")


def test_todays_handshake_says_what_it_said() -> None:
    golden = json.loads(FILE.read_text(encoding="utf-8"))
    cluster = Cluster()
    cluster.log = Membership(cluster.log.cluster, [bytes.fromhex(entry) for entry in golden["entries"]])
    met = meeting(cluster, identity(2), cluster.ana, expected=cluster.ana.node)
    ends = met.run()
    assert [frame.hex() for frame in met.frames] == golden["frames"]
    assert all(isinstance(end.outcome, Authenticated) for end in ends)


def _generate() -> dict[str, list[str]]:
    cluster = Cluster()
    cluster.admit(identity(2), "bob")
    met = meeting(cluster, identity(2), cluster.ana, expected=cluster.ana.node)
    met.run()
    entries = cluster.log.entries_missing_from()
    return {"entries": [entry.hex() for entry in entries], "frames": [frame.hex() for frame in met.frames]}


if __name__ == "__main__":
    FILE.write_text(json.dumps(_generate(), indent=1) + "\n", encoding="utf-8")
