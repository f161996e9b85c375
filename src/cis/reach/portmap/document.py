"""XML of a router, read with bounds: no document types and so no entities, so many elements, so deep, so much text.

Prefixes are dropped instead of resolved, since many routers do not declare theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.parsers import expat

from cis.reach.portmap.values import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT_MAX = 64 * 1024
_ELEMENTS_MAX = 2048
_DEPTH_MAX = 24
_TEXT_MAX = 1024


@dataclass(slots=True)
class Element:
    """An element: its name without prefix, its own text, and what is in it."""

    name: str
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def walk(self) -> Iterator[Element]:
        """This element and all in it, in the order of the document."""
        yield self
        for child in self.children:
            yield from child.walk()

    def leaf(self, name: str) -> str:
        """The text of the first element of that name directly in this one, or nothing."""
        return next((child.text.strip() for child in self.children if child.name == name), "")

    def find(self, name: str) -> Element | None:
        """The first element of that name, at any depth."""
        return next((element for element in self.walk() if element.name == name), None)


def parse(data: bytes) -> Element:
    """The root of a document; `Refused` if it is not XML, or more of it than a router has to say."""
    if len(data) > DOCUMENT_MAX:
        raise Refused("the router's description is too long")
    reader = _Reader()
    try:
        reader.parser.Parse(data.strip(b"\0 \t\r\n"), True)  # noqa: FBT003 - the parser names no parameters
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise Refused(f"the router's XML cannot be read ({error})") from error
    return reader.root.children[0]


class _Reader:
    def __init__(self) -> None:
        self.root = Element("")
        self._open = [self.root]
        self._count = 0
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._on_doctype
        self.parser.StartElementHandler = self._on_start
        self.parser.EndElementHandler = self._on_end
        self.parser.CharacterDataHandler = self._on_text

    def _on_doctype(self, *_: object) -> None:
        raise Refused("the router's XML declares a document type")

    def _on_start(self, name: str, _: object) -> None:
        self._count += 1
        if self._count > _ELEMENTS_MAX or len(self._open) > _DEPTH_MAX:
            raise Refused("the router's XML has too many elements")
        element = Element(name.rpartition(":")[2])
        self._open[-1].children.append(element)
        self._open.append(element)

    def _on_end(self, _: str) -> None:
        self._open.pop()

    def _on_text(self, text: str) -> None:
        element = self._open[-1]
        element.text += text[: _TEXT_MAX - len(element.text)]
