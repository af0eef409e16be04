"""What is wrong with a spec, in words: pydantic's errors turned into what, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from embed_job.spec import JobSpec
from embed_job.spec.section import Section


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake. path: the keys and indices that lead to it in what the user wrote."""

    path: tuple[str | int, ...]
    what: str
    hint: str


def describe(error: ValidationError, data: Mapping[str, Any]) -> list[Mistake]:
    """The mistakes in `data`, one a key, in the order of the spec."""
    found: dict[tuple[str | int, ...], list[Any]] = {}
    for item in error.errors(include_url=False):
        found.setdefault(_written_path(item, data), []).append(item)
    for path in list(found):
        # "Too short" follows from what is wrong with the items.
        inside = any(other[: len(path)] == path and other != path for other in found)
        if inside and all(item["type"] == "too_short" for item in found[path]):
            del found[path]
    mistakes = [_mistake(path, items) for path, items in found.items()]
    guesses = {
        guess
        for mistake, items in zip(mistakes, found.values(), strict=True)
        if items[0]["type"] == "extra_forbidden" and (guess := _misspelt(mistake.path)) is not None
    }
    return [
        mistake
        for mistake, items in zip(mistakes, found.values(), strict=True)
        if not (items[0]["type"] == "missing" and mistake.path in guesses)
    ]


def section_fields(section: type[Section]) -> dict[str, type[Section] | None]:
    """Each key of a section, with the section below it where there is one."""
    return {name: section_of(field.annotation) for name, field in section.model_fields.items()}


def field_at(path: tuple[str | int, ...]) -> FieldInfo | None:
    """The field that a path leads to; None where the spec knows none."""
    field: FieldInfo | None = None
    section: type[Section] | None = JobSpec
    for key in path:
        if isinstance(key, int):
            continue
        field = section.model_fields.get(key) if section else None
        section = section_of(field.annotation) if field else None
    return field


def section_of(annotation: Any) -> type[Section] | None:
    """The section inside Section, Section | None or tuple[Section, ...]."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for part in get_args(annotation) if (found := section_of(part))), None)


def kinds_of(section: type[Section]) -> dict[str, type[Section]]:
    """The kinds of a section that is one of several, which all of its keys name; else none."""
    kinds = {
        name: kind
        for name, field in section.model_fields.items()
        if field.default is None and (kind := section_of(field.annotation)) is not None
    }
    return kinds if len(kinds) == len(section.model_fields) else {}


def _section_at(path: tuple[str | int, ...]) -> type[Section] | None:
    if not path:
        return JobSpec
    field = field_at(path)
    return section_of(field.annotation) if field else None


def _written_path(item: Any, data: Mapping[str, Any]) -> tuple[str | int, ...]:
    """An error's place without the names that pydantic adds for members of a union."""
    path: list[str | int] = []
    here: Any = data
    for key in item["loc"]:
        known = (
            key in here
            if isinstance(here, Mapping)
            else isinstance(here, list) and isinstance(key, int) and key < len(here)
        )
        if not known:
            if item["type"] == "missing":
                path.append(key)
            break
        here = here[key]
        path.append(key)
    return tuple(path)


def _mistake(path: tuple[str | int, ...], items: list[Any]) -> Mistake:
    first = items[0]
    if first["type"] == "extra_forbidden":
        return Mistake(path, f"unknown key '{_dotted(path)}'", _unknown_key_hint(path))
    if first["type"] == "missing":
        return Mistake(path, f"'{_dotted(path)}' is missing", _purpose(path))
    if first["type"] == "value_error":
        return Mistake(path, f"'{_dotted(path)}': {first['ctx']['error']}", _purpose(path))
    wanted = " or ".join(dict.fromkeys(_wanted(item) for item in items))
    what = f"'{_dotted(path)}' should be {wanted}, and is {_shown(first['input'])}"
    return Mistake(path, what, _value_hint(path, items))


def _wanted(item: Any) -> str:
    if item["type"] == "literal_error":
        return str(item["ctx"]["expected"])
    if item["type"] == "model_type":
        return "a mapping of keys to values"
    if item["type"] == "string_pattern_mismatch":
        return f"a string like {item['ctx']['pattern']}"
    text = str(item["msg"]).partition(", ")[0]
    for opening in ("Input should be ", "String should ", "Tuple should "):
        text = text.removeprefix(opening)
    return text


def _value_hint(path: tuple[str | int, ...], items: list[Any]) -> str:
    first = items[0]
    allowed = [
        value
        for item in items
        if item["type"] == "literal_error"
        for value in item["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", ")
    ]
    if first["input"] is None and "null" in allowed:
        return "YAML reads a bare null as no value; write 'null' in quotes."
    close = difflib.get_close_matches(str(first["input"]), allowed, n=1)
    if close:
        return f"Did you mean '{close[0]}'?"
    if first["type"] == "string_type" and isinstance(first["input"], int | float | bool):
        return "Put it in quotes."
    return _purpose(path)


def _purpose(path: tuple[str | int, ...]) -> str:
    field = field_at(path)
    if field is not None and field.description:
        return field.description
    section = _section_at(path)
    return f"Its keys: {', '.join(section.model_fields)}." if section else ""


def _unknown_key_hint(path: tuple[str | int, ...]) -> str:
    section = _section_at(path[:-1])
    keys = list(section.model_fields) if section else []
    allowed = f"Keys here: {', '.join(keys)}."
    guess = _misspelt(path)
    if guess is not None:
        return f"Did you mean '{guess[-1]}'? {allowed}"
    elsewhere = [found for found in _every_key(JobSpec) if found.split(".")[-1] == path[-1]]
    return f"Did you mean '{elsewhere[0]}'? {allowed}" if elsewhere else allowed


def _misspelt(path: tuple[str | int, ...]) -> tuple[str | int, ...] | None:
    """The path of the known key beside an unknown one that is spelt most like it."""
    section = _section_at(path[:-1])
    known = list(section.model_fields) if section else []
    close = difflib.get_close_matches(str(path[-1]).lower(), known, n=1)
    return (*path[:-1], close[0]) if close else None


def _every_key(section: type[Section], above: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield f"{above}{name}"
        below = section_of(field.annotation)
        if below is None:
            continue
        if get_origin(field.annotation) is not tuple:
            yield from _every_key(below, f"{above}{name}.")
            continue
        for number, (kind, inside) in enumerate(kinds_of(below).items()):
            yield from _every_key(inside, f"{above}{name}.{number}.{kind}.")
        if not kinds_of(below):
            yield from _every_key(below, f"{above}{name}.0.")


def _dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(map(str, path)) or "the spec"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
