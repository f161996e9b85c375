"""The SDK's own client, started against the installed command as agents' programs start it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters, stdio_client

from tests.e2e.conftest import ROOT, Home


def environment_of(home: Path) -> dict[str, str]:
    """What a program gives its servers: little, and where the node is."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CIS_")}
    return {
        **kept,
        "PYTHONPATH": str(ROOT / "src"),
        "CIS_HOME": str(home),
        "CIS_P2P__DISCOVERY__ENABLE_MDNS": "false",
    }


@asynccontextmanager
async def agent(home: Home, *flags: str, mode: str = "auto") -> AsyncIterator[Client]:
    """An agent with a server of its own, which ends with it; what the server complains of is printed."""
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "cis", "mcp", *flags], env=environment_of(home.path)
    )
    with tempfile.TemporaryFile("w+") as complaints:
        try:
            async with Client(stdio_client(parameters, errlog=complaints), mode=mode) as client:
                yield client
        finally:
            complaints.seek(0)
            print(complaints.read())


async def ask(client: Client, tool: str, **given: Any) -> dict[str, Any]:
    """Call a tool that must succeed; returns its structured answer."""
    answer = await client.call_tool(tool, given)
    assert not answer.is_error, answer.content
    found: dict[str, Any] = answer.structured_content
    return found
