"""A spec as its user writes it: YAML and ``--set`` to a JobSpec, every mistake in one message."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from embed_job.errors import SpecError
from embed_job.spec import JobSpec
from embed_job.spec.mistakes import Mistake, describe, section_fields
from embed_job.spec.section import Section

MAX_SPEC_BYTES = 1 << 20
MAX_NODES = 20_000
MAX_DEPTH = 40

KeyPath = tuple[str | int, ...]


def load_spec(path: Path, overrides: Sequence[str] = ()) -> JobSpec:
    """The spec in a YAML file, with ``a.b=c`` overrides applied.

    Relative local paths in it are relative to the current folder. All mistakes come in one
    SpecError, each with its line.
    """
    return parse_spec(_read(path), name=str(path), overrides=overrides)


def parse_spec(text: str, *, name: str, overrides: Sequence[str] = ()) -> JobSpec:
    """Like :func:`load_spec`, from text; `name` stands for the file in messages."""
    places: dict[KeyPath, str] = {}
    data = _parse(text, name=name, places=places)
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise SpecError(name, "holds no mapping of keys to values", _START_HINT)
    for override in overrides:
        _override(data, override, places=places)
    data = _without_empty_sections(data, JobSpec)
    try:
        return JobSpec.model_validate(data)
    except ValidationError as error:
        raise _spec_error(describe(error, data), name=name, places=places) from None


_START_HINT = "`embed-job init` writes a spec with every key explained."


def _read(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_SPEC_BYTES + 1)
    except FileNotFoundError:
        raise SpecError(str(path), "no such file", _START_HINT) from None
    except IsADirectoryError:
        raise SpecError(str(path), "is a folder", "Give the spec's file.") from None
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise SpecError(str(path), reason.lower(), "Check the path and its permissions.") from None
    if len(raw) > MAX_SPEC_BYTES:
        raise SpecError(str(path), "is larger than 1 MiB", "A spec is a page of YAML.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise SpecError(f"{path}:{line}", "is not UTF-8", "Save the file as UTF-8.") from None


def _parse(text: str, *, name: str, places: dict[KeyPath, str]) -> Any:
    """YAML as plain values; notes the line of each key in `places`."""
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _locate(node, name=name, places=places)
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        what = f"is not YAML: {error.problem or error.context}"
        raise SpecError(where, what, "Mind indentation, colons and quotes.") from None
    except yaml.YAMLError:
        raise SpecError(name, "holds control characters", "Save it as plain text.") from None
    except RecursionError:
        raise SpecError(name, "is nested too deeply", "A spec is 4 levels deep.") from None
    except ValueError as error:  # a date such as 2024-13-45
        raise SpecError(name, f"has an impossible value: {error}", "Put it in quotes.") from None


def _locate(root: yaml.Node, *, name: str, places: dict[KeyPath, str]) -> None:
    """Walk the nodes as aliases expand them, so that a bomb ends here and not in memory."""
    pending: list[tuple[yaml.Node, KeyPath]] = [(root, ())]
    seen = 0
    while pending:
        node, path = pending.pop()
        seen += 1
        if seen > MAX_NODES or len(path) > MAX_DEPTH:
            raise SpecError(name, "is too large once its aliases expand", "Write the values out.")
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                places[*path, index] = f"{name}:{item.start_mark.line + 1}"
                pending.append((item, (*path, index)))
        elif isinstance(node, yaml.MappingNode):
            pending.extend(_locate_keys(node, path, name=name, places=places))


def _locate_keys(
    node: yaml.MappingNode, path: KeyPath, *, name: str, places: dict[KeyPath, str]
) -> list[tuple[yaml.Node, KeyPath]]:
    values: list[tuple[yaml.Node, KeyPath]] = []
    here: set[str] = set()
    for key, value in node.value:
        line = f"{name}:{key.start_mark.line + 1}"
        if key.value == "<<":
            raise SpecError(line, "'<<' merges are not supported", "Write the keys out.")
        if not isinstance(key, yaml.ScalarNode):
            raise SpecError(line, "a key is not a plain word", "Mind braces and brackets.")
        if key.value in here:
            raise SpecError(line, f"the key '{key.value}' is there twice", "Remove one of them.")
        here.add(key.value)
        places[*path, key.value] = line
        values.append((value, (*path, key.value)))
    return values


def _override(data: dict[str, Any], override: str, *, places: dict[KeyPath, str]) -> None:
    dotted, equals, raw = override.partition("=")
    # What may be a password is not repeated.
    is_secret = dotted.endswith("secret_arn") or ("://" in raw and "@" in raw)
    where = f"--set {dotted}=…" if is_secret else f"--set {override}"
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise SpecError(where, "is not KEY=VALUE", "Write for example --set execution.workers=2.")
    # A glob would be an alias to YAML; nobody means one here.
    value = raw if raw[:1] in set("*&!%@`") else _parse(raw, name=where, places={})
    parent: Any = data
    for depth, key in enumerate(keys[:-1]):
        fresh: Any = [] if keys[depth + 1] == "0" else {}
        if _lookup(parent, key, where=where) is None:
            _assign(parent, key, fresh)
        parent = _lookup(parent, key, where=where)
    _lookup(parent, keys[-1], where=where)
    _assign(parent, keys[-1], value)
    path = tuple(int(key) if key.isdigit() else key for key in keys)
    for end in range(1, len(path) + 1):
        places.setdefault(path[:end], where)
    places[path] = where


def _lookup(parent: Any, key: str, *, where: str) -> Any:
    """The value under key, None where there is none yet; a SpecError where none can be."""
    if isinstance(parent, dict):
        return parent.get(key)
    if isinstance(parent, list):
        if not key.isdigit() or int(key) > len(parent):
            hint = f"Use an index from 0 to {len(parent)}."
            raise SpecError(where, f"'{key}' is no index of a list of {len(parent)}", hint)
        return parent[int(key)] if int(key) < len(parent) else None
    raise SpecError(where, f"'{key}' lies below a single value", "Check the dots in the key.")


def _assign(parent: Any, key: str, value: Any) -> None:
    if isinstance(parent, dict):
        parent[key] = value
    elif int(key) < len(parent):
        parent[int(key)] = value
    else:
        parent.append(value)


def _without_empty_sections(data: dict[str, Any], section: type[Section]) -> dict[str, Any]:
    """Without sections whose keys are all commented out: YAML reads those as null."""
    fields = section_fields(section)
    kept: dict[str, Any] = {}
    for key, value in data.items():
        below = fields.get(key)
        if value is None and below is not None:
            continue
        nested = isinstance(value, dict) and below is not None
        kept[key] = _without_empty_sections(value, below) if nested and below else value
    return kept


def _spec_error(mistakes: Sequence[Mistake], *, name: str, places: dict[KeyPath, str]) -> SpecError:
    if len(mistakes) == 1:
        only = mistakes[0]
        return SpecError(_place(only.path, name=name, places=places), only.what, only.hint)
    lines = [
        f"  {_place(mistake.path, name=name, places=places)}: {mistake.what}. {mistake.hint}"
        for mistake in mistakes
    ]
    what = f"{len(mistakes)} mistakes\n" + "\n".join(line.rstrip(" .") for line in lines)
    return SpecError(name, what, _START_HINT)


def _place(path: KeyPath, *, name: str, places: dict[KeyPath, str]) -> str:
    """The line of a key, or of the nearest key above it that is written down."""
    while path:
        if path in places:
            return places[path]
        path = path[:-1]
    return name
