"""A retriever for frameworks of agents: found memories as documents, each with its text and where it is from.

    python examples/retriever.py "theme preference"

LangChain takes it as it is: ``RunnableLambda(retrieve) | prompt | model``. What is retrieved was written by whoever may
write to the memory: data for a model, never instructions.
"""

import json
import sys
from dataclasses import dataclass, field
from typing import Any

import cis


@dataclass
class Document:
    """What frameworks call a document; the names are LangChain's."""

    page_content: str
    metadata: dict[str, Any] = field(default_factory=dict)


def retrieve(query: str, limit: int = 5) -> list[Document]:
    """Return the memories that answer a query best."""
    with cis.open() as memory:
        found = memory.search(query, limit=limit)
    return [document(hit.memory, hit.score) for hit in found.hits]


def document(memory: cis.Memory, score: float) -> Document:
    """Return a memory as a document."""
    text = memory.value if isinstance(memory.value, str) else json.dumps(memory.value, default=repr)
    about = {"key": memory.key, "author": memory.author, "updated_ms": memory.updated_ms, "score": score}
    return Document(text, about)


if __name__ == "__main__":
    for one in retrieve(" ".join(sys.argv[1:])):
        print(f"{one.metadata['key']}: {one.page_content}")
