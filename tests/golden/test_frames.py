"""Every message of the wire as each version wrote it: what was written then must be read now, and mean the same.

A file ``frames_VERSION.json`` holds, for each struct, bytes and the fields they stand for. A later version may read
more fields from what it writes itself; of what an older one wrote it reads these. `python -m tests.golden.test_frames`
writes the file of the version at hand; that of a version that was released never changes.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import inspect

import cis

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.glob("frames_*.json"))
ROOMS = ("cis.wire", "cis.trust", "cis.anchor", "cis.node")
_NAMED = {"host": "192.0.2.7"}
_WORDS = ("laptop", "relay", "abcdefghijklmnopqrstuvwx", "host", "a")


def structs() -> dict[str, type[msgspec.Struct]]:
    """Return every struct that travels or is kept, by its room, file and name; segments have a file of their own."""
    found = {}
    for room in ROOMS:
        package = importlib.import_module(room)
        for module in pkgutil.walk_packages(package.__path__, f"{room}."):
            for name, kind in sorted(vars(importlib.import_module(module.name)).items()):
                if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__module__ == module.name:
                    called = f"{room}.{module.name.rpartition('.')[2]}.{name}"  # wherever in its room it lies
                    assert called not in found
                    found[called] = kind
    return {name: kind for name, kind in found.items() if kind.__struct_config__.array_like and kind.__struct_fields__}


def plain(value: object) -> Any:
    """Return a message as JSON can hold it, its fields by name."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value.hex() if isinstance(value, bytes) else json.loads(msgspec.json.encode(value))


def holds(fields: Any, now: Any) -> bool:
    """Tell whether all that was there is there now."""
    if isinstance(fields, dict):
        return isinstance(now, dict) and all(name in now and holds(fields[name], now[name]) for name in fields)
    if isinstance(fields, list):
        return len(fields) == len(now) and all(map(holds, fields, now))
    return bool(fields == now)


CASES = [
    pytest.param(name, *frame, id=f"{file.stem}-{name}")
    for file in FILES
    for name, frame in json.loads(file.read_text(encoding="utf-8")).items()
]


@pytest.mark.parametrize(("name", "frame", "fields"), CASES)
def test_what_a_version_wrote_is_read_and_means_the_same(name: str, frame: str, fields: dict[str, Any]) -> None:
    message = msgspec.msgpack.Decoder(structs()[name]).decode(bytes.fromhex(frame))
    assert holds(fields, plain(message))


def test_every_message_of_today_is_in_the_file_of_this_version() -> None:
    kept = json.loads((FOLDER / f"frames_{cis.__version__}.json").read_text(encoding="utf-8"))
    assert sorted(structs()) == sorted(kept), "python -m tests.golden.test_frames writes it, before a release"


def test_a_field_that_moved_would_show() -> None:
    assert not holds({"taken": True}, {"taken": False})
    assert not holds({"sent": 1}, {"other": 1})
    assert not holds({"ids": ["00"]}, {"ids": []})
    assert holds({"sent": 1}, {"sent": 1, "later": 2})


def _sample(kind: Any, salt: int) -> Any:
    """Return a value the type allows, other than its default where it can be; ``salt`` tells fields apart."""
    return _SAMPLERS[type(kind)](kind, salt)


def _object(kind: Any, salt: int) -> Any:
    fields = enumerate(kind.fields, start=1)
    return kind.cls(*[_NAMED.get(field.name) or _sample(field.type, salt + number) for number, field in fields])


def _bytes(kind: inspect.BytesType, salt: int) -> bytes:
    size = kind.min_length or min(5, kind.max_length or 5)
    return bytes((salt * 16 + one) % 256 for one in range(size))


def _word(kind: inspect.StrType, salt: int) -> str:
    fits = (word for word in _WORDS if kind.pattern is None or re.search(kind.pattern, word))
    return next(word for word in fits if kind.max_length is None or len(word) <= kind.max_length)


_SAMPLERS: dict[type[inspect.Type], Callable[[Any, int], Any]] = {
    inspect.StructType: _object,
    inspect.DataclassType: _object,
    inspect.BytesType: _bytes,
    inspect.StrType: _word,
    inspect.IntType: lambda kind, salt: min((kind.ge or 0) + salt, (kind.lt or 1 << 40) - 1),
    inspect.FloatType: lambda _, salt: salt + 0.5,
    inspect.BoolType: lambda *_: True,
    inspect.ListType: lambda kind, salt: [_sample(kind.item_type, salt + 1)],
    inspect.VarTupleType: lambda kind, salt: (_sample(kind.item_type, salt + 1),),
    inspect.TupleType: lambda kind, salt: tuple(_sample(one, salt + at) for at, one in enumerate(kind.item_types)),
    inspect.DictType: lambda kind, salt: {_sample(kind.key_type, salt): _sample(kind.value_type, salt + 1)},
    inspect.EnumType: lambda kind, _: list(kind.cls)[-1],
    inspect.LiteralType: lambda kind, _: kind.values[-1],
    inspect.UnionType: lambda kind, salt: _sample(kind.types[0], salt),
    inspect.Metadata: lambda kind, salt: _sample(kind.type, salt),
}


def _generate() -> dict[str, tuple[str, Any]]:
    made = {}
    for name, kind in sorted(structs().items()):
        message = _sample(inspect.type_info(kind), 1)
        made[name] = (msgspec.msgpack.encode(message).hex(), plain(message))
    return made


if __name__ == "__main__":
    text = json.dumps(_generate(), indent=1, ensure_ascii=False)
    (FOLDER / f"frames_{cis.__version__}.json").write_text(text + "\n", encoding="utf-8")
