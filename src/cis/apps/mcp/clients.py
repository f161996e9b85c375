"""The programs agents run in: where each keeps its list of MCP servers, and what an entry of it looks like.

As their documentation has it: Claude Desktop and Claude Code (``mcpServers``), Cursor, Windsurf, Gemini CLI (the same),
VS Code (``servers``), Zed (``context_servers``), Codex (``[mcp_servers.NAME]``).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cis.errors import UsageError

MAC, WINDOWS = "darwin", "win32"
Format = Literal["json", "toml"]


@dataclass(frozen=True)
class Places:
    """The folders of one user on one system; ``apps`` is where programs keep what they know about the user."""

    system: str
    home: Path
    apps: Path
    config: Path


@dataclass(frozen=True)
class Client:
    """One program; ``root`` and ``file`` say where its list is, ``project`` the one of a single project, if it has."""

    name: str
    title: str
    root: Literal["home", "apps", "config"]
    file: str
    section: str = "mcpServers"
    format: Format = "json"
    project: str | None = None
    typed: bool = False
    """Whether an entry says that it is of type stdio."""
    then: str = "restart it"

    def entry(self, command: Sequence[str]) -> dict[str, Any]:
        """Return what the list says of a server."""
        said: dict[str, Any] = {"command": command[0], "args": list(command[1:])}
        return {"type": "stdio", **said} if self.typed else said

    def path(self, places: Places, project: Path | None = None) -> Path:
        """Return the file of the list; `UsageError` for a project where the program has none."""
        if project is None:
            folder: Path = getattr(places, self.root)
            return folder / self.file
        if self.project is None:
            raise UsageError(f"{self.title} has one list for all projects: leave --project out")
        return project / self.project


CLIENTS = {
    client.name: client
    for client in (
        Client("claude-desktop", "Claude Desktop", "apps", "Claude/claude_desktop_config.json"),
        Client(
            "claude-code", "Claude Code", "home", ".claude.json", project=".mcp.json", typed=True,
            then="start a new session",
        ),
        Client("cursor", "Cursor", "home", ".cursor/mcp.json", project=".cursor/mcp.json"),
        Client(
            "vscode", "VS Code", "apps", "Code/User/mcp.json", section="servers", project=".vscode/mcp.json",
            typed=True, then="run the command  MCP: List Servers  in it",
        ),
        Client("windsurf", "Windsurf", "home", ".codeium/windsurf/mcp_config.json"),
        Client("zed", "Zed", "config", "zed/settings.json", section="context_servers", project=".zed/settings.json"),
        Client("codex", "Codex", "home", ".codex/config.toml", section="mcp_servers", format="toml"),
        Client("gemini", "Gemini CLI", "home", ".gemini/settings.json", project=".gemini/settings.json"),
    )
}  # fmt: skip


def client_of(name: str) -> Client:
    """Return a program by name; `UsageError` with those there are."""
    if name not in CLIENTS:
        raise UsageError(f"{name!r} is no program known here: there are {', '.join(CLIENTS)}")
    return CLIENTS[name]


def places_of(environment: Mapping[str, str], home: Path, system: str = sys.platform) -> Places:
    """Return the folders of a user: what the environment says, else what is usual on the system."""
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    if system == MAC:
        return Places(system, home, home / "Library" / "Application Support", home / ".config")
    if system == WINDOWS:
        roaming = Path(environment.get("APPDATA") or home / "AppData" / "Roaming")
        return Places(system, home, roaming, roaming)
    return Places(system, home, config, config)
