"""What `embed-job init` writes: a spec with every key explained, and the JSON schema of it.

Both are generated from :class:`embed_job.spec.JobSpec`, so that they cannot go stale.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import orjson
import yaml
from pydantic.fields import FieldInfo

from embed_job.spec import JobSpec
from embed_job.spec.mistakes import kinds_of, section_of
from embed_job.spec.section import Section

SCHEMA_ID = "urn:embed-job:job-spec"

_EXAMPLES: dict[str, Any] = {
    "name": "my-corpus",
    "input.uri": "data/",
    "model.bundle": "models/default",
    "outputs.parquet.uri": "out/my-corpus/vectors/",
    "outputs.opensearch.url": "http://127.0.0.1:9200",
    "outputs.opensearch.alias": "my-corpus",
    "compute.instance_preferences.instance_type": "ml.c7i.4xlarge",
    "compute.instance_preferences.instance_count": 4,
    "schedule.cron": "0 3 * * *",
}
"""Values for what has no default, or one that only holds inside the image."""


def render_schema() -> bytes:
    """The JSON schema of a spec, for editors."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        **JobSpec.model_json_schema(),
    }
    return orjson.dumps(schema, option=orjson.OPT_INDENT_2) + b"\n"


def is_our_schema(path: Path) -> bool:
    """Whether the file at path is a schema that an `init` wrote, so that it may be replaced."""
    try:
        found = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return False
    return isinstance(found, dict) and found.get("$id") == SCHEMA_ID


def render_spec(schema: str | None = None) -> str:
    """A spec of every key with its description, allowed values and default; it loads as it is.

    schema: path or URL of the JSON schema, relative to the spec.
    """
    opening = [f"# yaml-language-server: $schema={schema}"] if schema else []
    opening.append(f"# {JobSpec.__doc__} Relative paths are relative to where it is run.")
    opening.append("# Check it, then try it on a sample: embed-job run THIS_FILE --sample 1%")
    return "\n".join([*opening, *_section_lines(JobSpec, "")]) + "\n"


def _section_lines(section: type[Section], above: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        path = f"{above}{name}"
        below = section_of(field.annotation)
        if above == "":
            yield ""
        if below is None:
            yield from _field_lines(name, field, path)
            continue
        yield from _comment(field.description or below.__doc__ or "")
        is_list = get_origin(field.annotation) is tuple
        inside = _item_lines(below, path) if is_list else _section_lines(below, f"{path}.")
        lines = [f"{name}:", *_indented(inside)]
        yield from _commented_out(lines) if field.default in (None, ()) else lines


def _item_lines(section: type[Section], path: str) -> Iterator[str]:
    """A list's items: one of each kind, where a section is one of several kinds, and of these
    only the first in force; else one."""
    kinds = kinds_of(section)
    if not kinds:
        yield from _as_item(list(_section_lines(section, f"{path}.")))
    for number, (name, kind) in enumerate(kinds.items()):
        yield from _comment(section.model_fields[name].description or kind.__doc__ or "")
        inside = _indented(_section_lines(kind, f"{path}.{name}."))
        lines = [f"- {name}:", *_indented(inside)]
        yield from _commented_out(lines) if number else lines


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def _commented_out(lines: Iterable[str]) -> Iterator[str]:
    yield "# Unset by default; remove the leading '# ' of each line to use it."
    yield from (f"# {line}" for line in lines)


def _as_item(lines: list[str]) -> list[str]:
    """Lines of a mapping as an item of a list."""
    first = next(index for index, line in enumerate(lines) if not line.lstrip().startswith("#"))
    comments = lines[:first]
    return [*comments, f"- {lines[first]}", *_indented(lines[first + 1 :])]


def _field_lines(name: str, field: FieldInfo, path: str) -> Iterator[str]:
    required = field.is_required()
    default = None if required else field.get_default(call_default_factory=True)
    facts = [field.description or "", _allowed(field.annotation), _range(field)]
    facts.append("Required." if required else f"Default: {_shown(default)}.")
    yield from _comment(" ".join(fact for fact in facts if fact))
    value = _EXAMPLES.get(path, default)
    yield f"{name}: {_yaml(value)}"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(" ".join(text.split()), 84)]


def _allowed(annotation: Any) -> str:
    if get_origin(annotation) is not Literal:
        return ""
    return f"One of {', '.join(map(str, get_args(annotation)))}."


def _range(field: FieldInfo) -> str:
    words = {"ge": "at least", "gt": "above", "le": "at most"}
    found = [
        f"{word} {value:g}"
        for name, word in words.items()
        for bound in field.metadata
        if (value := getattr(bound, name, None)) is not None
    ]
    return f"{', '.join(found).capitalize()}." if found else ""


def _shown(default: Any) -> str:
    return "unset" if default is None else _yaml(default)


def _yaml(value: Any) -> str:
    plain = str(value) if isinstance(value, Path) else value
    plain = list(plain) if isinstance(plain, tuple) else plain
    text: str = yaml.safe_dump(plain, default_flow_style=True, width=1000)
    return text.removesuffix("\n").removesuffix("\n...")
