"""The default sample: documentation strings of the Python standard library of this machine.

Sources are parsed, never imported or run.
"""

from __future__ import annotations

import ast
import inspect
import random
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import orjson

from embed_job.errors import InputError

MIN_BODY_CHARS = 40
MIN_MODULE_BODY_CHARS = 20
"""A module is worth a line however tersely it says what it is."""
MAX_DOCS_A_MODULE = 60
"""Parsing stops once so many of each module parsed would do: all of it takes several seconds."""

FIRST_MODULES = """
    asyncio argparse collections contextlib csv dataclasses datetime enum functools glob gzip
    hashlib heapq http.client http.server inspect ipaddress json json.decoder json.encoder
    logging multiprocessing pathlib pickle pprint queue random re shutil socket sqlite3 ssl
    statistics string subprocess tarfile tempfile textwrap threading tokenize typing unittest
    unittest.mock urllib.parse urllib.request uuid venv xml.etree.ElementTree zipfile zoneinfo
"""
"""What people ask about; always in the sample."""

_SKIPPED = frozenset(
    {"test", "tests", "idlelib", "turtledemo", "lib2to3", "encodings", "pydoc_data"}
    | {"site-packages", "dist-packages"}
)


@dataclass(frozen=True, slots=True)
class Doc:
    """One documentation string. id: its qualified name; title: the same with its arguments."""

    id: str
    title: str
    body: str
    module: str


def write_stdlib_docs(path: Path, *, count: int = 2000, seed: int = 0) -> int:
    """Write `count` documentation strings to path as JSONL, sorted by id; fewer if there are.

    Returns how many. The same interpreter, count and seed give the same bytes. Raises InputError
    where the interpreter came without sources.
    """
    root = Path(sysconfig.get_path("stdlib"))
    docs = sorted(choose_docs(root, count=count, seed=seed), key=lambda doc: doc.id)
    if not docs:
        raise InputError(
            str(root),
            "this Python came without the sources of its standard library",
            "Use another Python, or give a spec: make dry-run SPEC=my.yaml.",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(orjson.dumps(doc) + b"\n" for doc in docs))
    return len(docs)


def choose_docs(root: Path, *, count: int, seed: int) -> list[Doc]:
    """At most `count` docs of the modules below root: the first of each module, then the second
    and so on, so that no large module crowds the others out."""
    rng = random.Random(seed)  # noqa: S311 - the same sample each time
    sources = find_sources(root)
    first = [name for name in FIRST_MODULES.split() if name in sources]
    others = sorted(sources.keys() - set(first))
    rng.shuffle(others)
    by_module: list[list[Doc]] = []
    bodies: set[str] = set()
    enough = 0
    for name in [*first, *others]:
        docs = _distinct(read_docs(sources[name], name), bodies)
        rest = docs[1:]
        rng.shuffle(rest)
        by_module.append(docs[:1] + rest)
        enough += min(len(docs), MAX_DOCS_A_MODULE)
        if enough >= count:
            break
    turns = (doc for turn in zip_longest(*by_module) for doc in turn if doc is not None)
    return [doc for doc, _ in zip(turns, range(count), strict=False)]


def find_sources(root: Path) -> dict[str, Path]:
    """Modules below root by dotted name; private ones and those of tests and tools left out."""
    sources = {}
    for entry in sorted(root.iterdir()):
        if entry.name in _SKIPPED or entry.name.startswith("_"):
            continue
        if entry.suffix == ".py":
            sources[entry.stem] = entry
        elif (entry / "__init__.py").is_file():
            sources[entry.name] = entry / "__init__.py"
            below = find_sources(entry)
            sources |= {f"{entry.name}.{name}": path for name, path in below.items()}
    return sources


def read_docs(source: Path, module: str) -> list[Doc]:
    """Docs of a module: its own first, then those of its public classes and functions in order.

    A file that does not parse has none: distributions ship templates and other Pythons' syntax.
    """
    try:
        with warnings.catch_warnings():
            # Invalid escapes in docstrings of others are no news to our users.
            warnings.simplefilter("ignore")
            tree = ast.parse(source.read_bytes())
    except (SyntaxError, ValueError):
        return []
    return list(_docs_below(tree, name=module, title=module, module=module))


Scope = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _docs_below(node: Scope, *, name: str, title: str, module: str) -> Iterator[Doc]:
    body = inspect.cleandoc(ast.get_docstring(node, clean=False) or "").strip()
    shortest = MIN_MODULE_BODY_CHARS if isinstance(node, ast.Module) else MIN_BODY_CHARS
    if len(body) >= shortest and _is_plain(body):
        yield Doc(id=name, title=title, body=body, module=module)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return
    for child in _definitions(node.body):
        if not child.name.startswith("_"):
            below = f"{name}.{child.name}"
            yield from _docs_below(
                child, name=below, title=below + _signature(child), module=module
            )


def _definitions(
    statements: list[ast.stmt],
) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    for statement in statements:
        if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield statement
        elif isinstance(statement, ast.If | ast.Try):
            yield from _definitions(statement.body)
            yield from _definitions(statement.orelse)


def _signature(node: Scope) -> str:
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return ""
    return f"({ast.unparse(node.args)})"


def _is_plain(text: str) -> bool:
    """Whether it can be written as UTF-8: a literal may hold lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _distinct(docs: list[Doc], bodies: set[str]) -> list[Doc]:
    """Docs whose text was not seen before and whose id is new in the module; notes the texts."""
    kept: dict[str, Doc] = {}
    for doc in docs:
        if doc.body not in bodies and doc.id not in kept:
            bodies.add(doc.body)
            kept[doc.id] = doc
    return list(kept.values())
