"""Import and export: memories as Markdown notes, JSON Lines, the MCP memory server's file, and CSV.

Files written by strangers are read with bounds and never trusted: a row that cannot be taken becomes a
`Problem` with its file and line, and reading goes on. Nothing here touches the store or the event loop.

::

    for item in read_entries(Path("notes")):
        if isinstance(item, Problem): report(item)
        else: remember(item)
    write_markdown(entries, Path("export"))
"""

from cis.api.exchange.csv_rows import read_csv
from cis.api.exchange.detect import FORMATS, Format, detect, read_entries
from cis.api.exchange.entry import Count, Element, Entry, Form, MemoryType, Scalar, Vector, validate
from cis.api.exchange.json_text import JsonValue
from cis.api.exchange.jsonl import jsonl_of, read_jsonl, write_jsonl
from cis.api.exchange.markdown import read_markdown, write_markdown
from cis.api.exchange.mcp_memory import Written, read_mcp_memory, write_mcp_memory
from cis.api.exchange.source import Problem

__all__ = [
    "FORMATS",
    "Count",
    "Element",
    "Entry",
    "Form",
    "Format",
    "JsonValue",
    "MemoryType",
    "Problem",
    "Scalar",
    "Vector",
    "Written",
    "detect",
    "jsonl_of",
    "read_csv",
    "read_entries",
    "read_jsonl",
    "read_markdown",
    "read_mcp_memory",
    "validate",
    "write_jsonl",
    "write_markdown",
    "write_mcp_memory",
]
