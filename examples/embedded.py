"""The same memory without asyncio, and without a node running: a script that keeps what it did.

python examples/embedded.py ~/.cis
"""

import sys

import cis


def main(home: str | None) -> None:
    """Count the runs, keep the latest, show what is known of its past."""
    with cis.open(home) as memory:
        run = memory.incr("script/runs")
        memory.set("script/last", {"run": run, "ok": True}, category="result", ttl_s=7 * 86_400)
        notes = memory.space("private")
        notes.set("script/note", "this never leaves the device")
        for entry in memory.list("script/", all_spaces=True):
            print(entry.space, entry.key, entry.value)
        for version in memory.history("script/last"):
            print("known:", version.value, "shown" if version.shown else "replaced")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
