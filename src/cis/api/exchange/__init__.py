"""Import and export: memories as Markdown notes, JSON Lines, the MCP memory server's file, and CSV.

Files written by strangers are read with bounds and never trusted: a row that cannot be taken becomes a
`Problem` with its file and line, and reading goes on. Nothing here touches the store or the event loop.

::

    from cis.api.exchange.detect import read_entries

    for item in read_entries(Path("notes")):
        if isinstance(item, Problem): report(item)
        else: remember(item)
    write_markdown(entries, Path("export"))
"""
