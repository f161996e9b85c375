"""An agent's memory with asyncio: values of every kind, search, and what others change meanwhile.

cis up --detach && python examples/remember.py
"""

import asyncio

import cis


async def main() -> None:
    """Remember, recall, search, watch."""
    async with cis.connect() as memory:
        await memory.set("editor", "dark mode", category="preference", tags=["ui"])
        await memory.set("project/config", {"python": "3.11", "strict": True})
        await memory.set("project/icon", b"\x89PNG")

        if editor := await memory.get("editor"):
            print("editor:", editor.value, "by", editor.author)

        print("builds:", await memory.incr("builds"))
        await memory.add("languages", "Python", "Rust")
        print("languages:", sorted(await memory.members("languages")))

        found = await memory.search("dark mode", limit=3)
        for hit in found.hits:
            print("found:", hit.memory.key)

        async for entry in memory.list("project/"):
            print("listed:", entry.key, entry.value)

        async with memory.watch("project/") as changes:
            await memory.set("project/status", "green")
            async for change in changes:
                print("changed:", change.key, "by", change.author)
                break


if __name__ == "__main__":
    asyncio.run(main())
