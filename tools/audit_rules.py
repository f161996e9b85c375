"""Rules of security that a reader of the code would check, checked on its syntax.

::

    python -m tools.audit_rules           # every finding in src and tools; exit 1 where there is one

Each rule is a function over one syntax tree that yields (line, name). What may be done all the same stands in
`EXCEPTIONS` with its reason; tests/unit/tools/test_audit.py breaks each rule, and holds that no exception is idle.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("src", "tools")

_PASSED_ON = "a private function that is given constants of its own module"
_KINDS = "kinds of changes, numbers of our own, as hexadecimal"
_NUMBER = "a number, and a pragma takes no bound values"
EXCEPTIONS: dict[str, str] = {
    "src/cis/api/memories/browsing.py: composed SQL: statement": _PASSED_ON,
    "src/cis/store/audit_check.py: composed SQL: query": _PASSED_ON,
    "src/cis/store/repair.py: composed SQL: table": _PASSED_ON,
    "src/cis/store/compaction.py: composed SQL: where": "one of two texts, unpacked beside what is bound to it",
    "src/cis/store/database.py: composed SQL: query": "the one door to it: callers' statements are checked",
    "src/cis/store/database.py: composed SQL: key.hex()": "this node's own key; pragmas take no bound values",
    "src/cis/store/database.py: composed SQL: value": _NUMBER,
    "src/cis/store/database.py: composed SQL: layout.application_id": _NUMBER,
    "src/cis/store/database.py: composed SQL: number": _NUMBER,
    "src/cis/store/database.py: composed SQL: script": "a migration, written in the schema",
    "src/cis/anchor/shelf.py: composed SQL: statement": _PASSED_ON,
    "src/cis/api/memories/word_search.py: composed SQL: statement": _PASSED_ON,
    "src/cis/store/reading.py: composed SQL: query": _PASSED_ON,
    "src/cis/store/log.py: composed SQL: query": "as many question marks as there are kinds",
    "src/cis/store/collection.py: composed SQL: column": "one of two names, written beside it",
    "src/cis/store/compacting.py: composed SQL: before": _NUMBER,
    "src/cis/store/read.py: composed SQL: _listed(BODILESS)": _KINDS,
    "src/cis/store/read.py: composed SQL: _listed(VALUELESS)": _KINDS,
    "src/cis/embedding/choosing.py: secret compared with ==: token != token.strip()": "with itself, without its spaces",
}
"""``path: rule: name`` -> the reason."""

FREED = {"secret from a replayable generator": "src/cis/sim/"}
"""Where a rule does not hold: in the simulator all is drawn from one seed, to be replayed."""

Found = Iterator[tuple[int, str]]

_SECRET = re.compile(
    r"(?:^|_)(?:secrets?|seed|passphrase|password|private|psk|mac|hmac|store_key|discovery_key|memory_key|epoch_key|"
    r"credential|confirmation)$"
)
_COMPARED = re.compile(r"(?:^|_)(?:macs?|hmacs?|secrets?|passphrase|password|proof|confirmation|token)$")
_DRAWN = re.compile(r"(?:^|_)(?:secret|seed|key|nonce|salt|token|passphrase|challenge)$")
_FOREIGN = re.compile(
    r"^(?:raw|data|frame|message|payload|body|packet|datagram|request|sealed|chain|entries|raws|answer)$"
)
_DECODING = re.compile(
    r"^_?(?:decode|parse|read|verify|open|redeem|admit|serve|on|accept|handle|request|welcome|greet)(?:_|$)"
)
_SENDING = {"debug", "info", "warning", "error", "exception", "critical", "log", "print", "say", "tell", "complain"}
_LOGGERS = re.compile(r"(?:^|\.)(?:_?log|logger|logging)$")
_CONSTANT = re.compile(r"^_?[A-Z][A-Z0-9_]*$")
_CALLS = {
    "eval": "runs text",
    "exec": "runs text",
    "compile": "runs text",
    "os.system": "runs a shell",
    "os.popen": "runs a shell",
    "subprocess.getoutput": "runs a shell",
    "tempfile.mktemp": "races for a name",
    "hashlib.md5": "is broken",
    "hashlib.sha1": "is broken",
    "ssl._create_unverified_context": "checks no certificate",
    "shutil.unpack_archive": "writes where the archive says",
    "marshal.loads": "runs what it reads",
    "os.chmod": "is Path.chmod's, which this audit reads",
}
_MODULES = {"pickle", "cPickle", "dill", "shelve", "marshal", "telnetlib", "ftplib", "xmlrpc", "imp"}
_DATABASE = re.compile(r"(?:connection|cursor|index|database|_db)$")
_SQL_METHODS = {"execute", "executemany", "executescript"}


@dataclass(frozen=True)
class Finding:
    """One broken rule."""

    path: str
    line: int
    rule: str
    name: str

    @property
    def key(self) -> str:
        """What `EXCEPTIONS` names it by."""
        return f"{self.path}: {self.rule}: {self.name}"

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.name}"


def chance_for_secrets(tree: ast.Module) -> Found:
    """A key, nonce or salt comes from the operating system, never from a generator that can be replayed."""
    for node in ast.walk(tree):
        for target, value in _assignments(node):
            called = _called(value)
            if _DRAWN.search(target) and re.search(r"(?:^|[._])(?:random|rng|_?rand)\b", called):
                yield value.lineno, f"{target} = {called}"


def compared_in_time(tree: ast.Module) -> Found:
    """What a stranger may guess at is compared by ``hmac.compare_digest``: ``==`` tells how much was right."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
            for side in (node.left, *node.comparators):
                if _COMPARED.search(_last_name(side)) and not _is_constant(node):
                    yield node.lineno, ast.unparse(node)[:60]
                    break


def dangerous_calls(tree: ast.Module) -> Found:
    """Nothing runs what it reads, no shell is opened, no broken hash is used."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from ((node.lineno, f"import {name}") for name in names if name.partition(".")[0] in _MODULES)
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in _CALLS:
                yield node.lineno, f"{called} {_CALLS[called]}"
            yield from _dangerous_arguments(called, node)


def _dangerous_arguments(called: str, node: ast.Call) -> Found:
    given = {word.arg: word.value for word in node.keywords}
    if _is_true(given.get("shell")):
        yield node.lineno, f"{called}(shell=True)"
    if "verify" in given and _is_false(given["verify"]):
        yield node.lineno, f"{called}(verify=False)"
    if called == "yaml.load" and _loader(node) not in {"yaml.SafeLoader", "yaml.CSafeLoader"}:
        yield node.lineno, f"yaml.load with {_loader(node) or 'no loader'}"
    if called.endswith(("extractall", ".extract")) and "filter" not in given:
        yield node.lineno, f"{called} without filter"
    if called.endswith(".chmod") and node.args and isinstance(node.args[-1], ast.Constant):
        mode = node.args[-1].value
        if isinstance(mode, int) and mode & 0o077:
            yield node.lineno, f"chmod {mode:o}"


def composed_sql(tree: ast.Module) -> Found:
    """A statement is made of constants; values are bound."""
    for scope in _scopes(tree):
        calls = [node for node in _within(scope) if isinstance(node, ast.Call) and _is_sql(node)]
        constants = _constants_of(scope, tree) if calls else set()
        for node in calls:
            statement = node.args[1] if ast.unparse(node.func) == "fetch" else node.args[0]
            if (foreign := _foreign_part(statement, constants)) is not None:
                yield node.lineno, foreign


def told_secrets(tree: ast.Module) -> Found:
    """No log line, printed line or error text holds what must stay secret."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _tells(node):
            told: list[ast.AST] = [*node.args, *(word.value for word in node.keywords)]
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            told = list(node.exc.args)
        else:
            continue
        yield from ((node.lineno, name) for one in told for name in _secrets_in(one))


def asserted_input(tree: ast.Module) -> Found:
    """What arrives is checked by an error that stays when Python drops assertions."""
    for scope in ast.walk(tree):
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef) and _DECODING.match(scope.name):
            arguments = [*scope.args.posonlyargs, *scope.args.args, *scope.args.kwonlyargs]
            foreign = {one.arg for one in arguments if _FOREIGN.match(one.arg)}
            for node in ast.walk(scope):
                if isinstance(node, ast.Assert):
                    named = {one.id for one in ast.walk(node.test) if isinstance(one, ast.Name)}
                    if named & foreign:
                        yield node.lineno, f"{scope.name}: assert {ast.unparse(node.test)[:40]}"


RULES: dict[str, Callable[[ast.Module], Found]] = {
    "secret from a replayable generator": chance_for_secrets,
    "secret compared with ==": compared_in_time,
    "dangerous call": dangerous_calls,
    "composed SQL": composed_sql,
    "secret told": told_secrets,
    "assert on input": asserted_input,
}


def findings_in(path: str, text: str) -> list[Finding]:
    """Every broken rule of one file."""
    tree = ast.parse(text)
    return sorted(
        {
            Finding(path, line, rule, name)
            for rule, check in RULES.items()
            if rule not in FREED or not path.startswith(FREED[rule])
            for line, name in check(tree)
        },
        key=lambda one: (one.line, one.rule, one.name),
    )


def all_findings(root: Path = ROOT) -> list[Finding]:
    """Every broken rule of the repository's own code."""
    files = [file for folder in FOLDERS for file in sorted((root / folder).rglob("*.py"))]
    return [one for file in files for one in findings_in(file.relative_to(root).as_posix(), file.read_text("utf-8"))]


# --- reading syntax ---------------------------------------------------------------------------------------------


def _assignments(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Names and what they are given: by assignment, or as a named argument."""
    if isinstance(node, ast.Assign):
        yield from ((_last_name(target), node.value) for target in node.targets)
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
        yield _last_name(node.target), node.value
    elif isinstance(node, ast.Call):
        yield from ((word.arg, word.value) for word in node.keywords if word.arg)


def _called(node: ast.AST) -> str:
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def _last_name(node: ast.AST) -> str:
    """The name a value goes by: of a name, an attribute, or what a method was called on."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=inner):
            return _last_name(inner)
        case ast.Call(func=ast.Attribute(attr="digest" | "hex" | "hexdigest", value=ast.Call() as inner)):
            return "mac" if _called(inner).startswith("hmac.") else ""
        case ast.Call(func=ast.Attribute(attr="digest", value=ast.Name(id="hmac"))):
            return "mac"
    return ""


def _is_constant(compare: ast.Compare) -> bool:
    """Whether one side is written in the code, so that there is nothing to guess."""
    sides = (compare.left, *compare.comparators)
    return any(isinstance(side, ast.Constant) or _CONSTANT.match(_last_name(side)) for side in sides)


def _is_true(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def _is_false(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def _loader(node: ast.Call) -> str:
    for value in [word.value for word in node.keywords if word.arg == "Loader"] + node.args[1:2]:
        return ast.unparse(value)
    return ""


def _tells(node: ast.Call) -> bool:
    receiver, _, method = ast.unparse(node.func).rpartition(".")
    return method in _SENDING and (not receiver or bool(_LOGGERS.search(receiver)))


def _secrets_in(node: ast.AST) -> Iterator[str]:
    """Names of secrets whose value is told; a length, a question or a call that makes something else of it is not."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            if _SECRET.search(name):
                yield name
        case ast.Call(func=ast.Attribute(attr="hex" | "decode" | "format" | "join", value=inner)):
            for part in (inner, *node.args):
                yield from _secrets_in(part)
        case ast.Call(func=ast.Name(id="str" | "repr" | "bytes")):
            for part in node.args:
                yield from _secrets_in(part)
        case (
            ast.JoinedStr()
            | ast.FormattedValue()
            | ast.BinOp()
            | ast.Tuple()
            | ast.List()
            | ast.Dict()
            | ast.Subscript()
        ):
            for child in ast.iter_child_nodes(node):
                yield from _secrets_in(child)


def _scopes(tree: ast.Module) -> Iterator[ast.Module | ast.FunctionDef | ast.AsyncFunctionDef]:
    yield tree
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _within(scope: ast.AST) -> Iterator[ast.AST]:
    """Everything in a scope that is not in a function inside it; lambdas count as the scope's."""
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from _within(child)


def _is_sql(node: ast.Call) -> bool:
    if ast.unparse(node.func) == "fetch":
        return len(node.args) > 1
    if not isinstance(node.func, ast.Attribute) or node.func.attr not in _SQL_METHODS or not node.args:
        return False
    return bool(_DATABASE.search(ast.unparse(node.func.value)))


def _constants_of(scope: ast.AST, tree: ast.Module) -> set[str]:
    """Names in a scope, and those around it, that only ever stand for text written in the code."""
    given: dict[str, list[ast.expr | None]] = {}
    for place in {id(one): one for one in (tree, *_around(scope, tree))}.values():
        for node in _within(place):
            for name, value in _bindings(node):
                given.setdefault(name, []).append(value)
        if isinstance(place, ast.FunctionDef | ast.AsyncFunctionDef):
            for one in ast.walk(place.args):
                if isinstance(one, ast.arg):
                    given.setdefault(one.arg, []).append(None)
    constants: set[str] = set()
    while True:  # a name may stand for others
        more = {
            name
            for name, values in given.items()
            if all(value is not None and _foreign_part(value, constants) is None for value in values)
        }
        if more <= constants:
            return constants
        constants |= more


def _around(scope: ast.AST, tree: ast.Module) -> list[ast.AST]:
    """The functions a scope is in, and itself."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(one is scope for one in ast.walk(node))
    ]


def _bindings(node: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            yield name, value
        case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)) if len(names) == len(values):
            yield from ((_last_name(name), value) for name, value in zip(names, values, strict=True))
        case ast.For(target=target, iter=source) | ast.AsyncFor(target=target, iter=source):
            yield from _loop(target, source)
        case ast.comprehension(target=target, iter=source):
            yield from _loop(target, source)
        case ast.AnnAssign(target=ast.Name(id=name), value=value):
            yield name, value
        case ast.AugAssign(target=ast.Name(id=name), value=value):
            yield name, value
        case ast.Assign(targets=targets):
            yield from ((one.id, None) for target in targets for one in ast.walk(target) if isinstance(one, ast.Name))


def _loop(target: ast.expr, source: ast.expr) -> Iterator[tuple[str, ast.expr | None]]:
    """What the names of a loop stand for, where it runs over what is written in the code."""
    names = target.elts if isinstance(target, ast.Tuple) else [target]
    if isinstance(source, ast.Call) and ast.unparse(source.func).endswith(".items"):
        source = source.func.value if isinstance(source.func, ast.Attribute) else source
    if isinstance(source, ast.IfExp) and isinstance(source.orelse, ast.Tuple) and not source.orelse.elts:
        source = source.body
    rows: list[ast.expr | None]
    match source:
        case ast.Tuple(elts=elts) | ast.List(elts=elts):
            rows = list(elts)
        case ast.Dict(keys=keys, values=values):
            rows = [ast.Tuple([key, value], ast.Load()) for key, value in zip(keys, values, strict=True) if key]
        case ast.Name():
            rows = [source]
        case _:
            rows = [None]
    for row in rows:
        parts = row.elts if isinstance(row, ast.Tuple) and len(names) > 1 else [row] * len(names)
        yield from ((_last_name(name), part) for name, part in zip(names, parts, strict=False))


def _foreign_part(node: ast.expr, constants: set[str]) -> str | None:  # noqa: PLR0911 - one for each kind of node
    """The first part of a statement that is not written in the code, None where there is none."""
    match node:
        case ast.Constant():
            return None
        case ast.Name(id=name):
            return None if name in constants or _CONSTANT.match(name) else name
        case ast.Attribute(attr=name):
            return None if _CONSTANT.match(name) else ast.unparse(node)
        case ast.JoinedStr(values=parts) | ast.Tuple(elts=parts) | ast.List(elts=parts):
            return next((found for part in parts if (found := _foreign_part(part, constants)) is not None), None)
        case ast.FormattedValue(value=inner):
            return _foreign_part(inner, constants)
        case ast.BinOp(left=left, right=right):
            return _foreign_part(left, constants) or _foreign_part(right, constants)
        case ast.IfExp(body=body, orelse=other):
            return _foreign_part(body, constants) or _foreign_part(other, constants)
        case ast.Call(func=ast.Attribute(attr="join"), args=[ast.GeneratorExp(elt=part)]):
            return _foreign_part(part, constants)
        case ast.Call(func=ast.Attribute(attr="format", value=text), args=args, keywords=words):
            return _foreign_part(ast.Tuple([text, *args, *(word.value for word in words)], ast.Load()), constants)
        case ast.Subscript(value=inner) | ast.Starred(value=inner):
            return _foreign_part(inner, constants)
        case ast.Call(func=ast.Name(id="len" | "int")):
            return None
    return ast.unparse(node)[:60]


def main() -> int:
    """Print what is found and not excepted."""
    found = [one for one in all_findings() if one.key not in EXCEPTIONS]
    for one in found:
        print(one)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
