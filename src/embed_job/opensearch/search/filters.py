"""What a user asks of the hits' fields: ``language=en``, ``year>=2020``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from embed_job.errors import UserError

_FORM = re.compile(r"(?P<field>.+?)(?P<operator>>=|<=|!=|=|>|<)(?P<value>.*)", re.DOTALL)
_RANGES = {">=": "gte", "<=": "lte", ">": "gt", "<": "lt"}


def _whole(text: str) -> int:
    return int(text)


def _truth(text: str) -> bool:
    return {"true": True, "false": False}[text.casefold()]


def _date(text: str) -> str:
    datetime.fromisoformat(text)
    return text


_KINDS: dict[str, tuple[Callable[[str], object], str]] = {
    "keyword": (str, "a text"),
    "integer": (_whole, "a whole number"),
    "long": (_whole, "a whole number"),
    "double": (float, "a number"),
    "boolean": (_truth, "true or false"),
    "date": (_date, "a date such as 2026-01-31 or 2026-01-31T12:00:00Z"),
}
"""Type of a field in the index: how its values are read, and what they are."""


def parse_filters(
    texts: Sequence[str], fields: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Clauses of a bool query's filter, one for each text; hits must pass all of them.

    fields: the index's, by name. Raises UserError for what is no filter on one of them.
    """
    return [_clause(text, fields) for text in texts]


def _clause(text: str, fields: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    found = _FORM.fullmatch(text)
    if found is None:
        raise UserError(
            "--filter", f"{text[:60]!r} is no filter", "Write language=en or year>=2020."
        )
    field, operator = found["field"].strip(), found["operator"]
    _refuse_slips(text, field, operator, found["value"].strip())
    kind = _kind(field, fields)
    if kind == "boolean" and operator in _RANGES:
        raise UserError("--filter", f"'{field}' is true or false", f"Write {field}=true.")
    value = _value(field, kind, found["value"].strip())
    if operator in _RANGES:
        return {"range": {field: {_RANGES[operator]: value}}}
    term = {"term": {field: {"value": value}}}
    return {"bool": {"must_not": [term]}} if operator == "!=" else term


def _refuse_slips(text: str, field: str, operator: str, value: str) -> None:
    """Raise UserError for what a field can hold but nobody means: it would find nothing."""
    if not value:
        hint = f"Write what '{field}' must hold, as in {field}{operator}VALUE."
        raise UserError("--filter", f"'{text[:60]}' names no value", hint)
    if value.startswith("="):
        hint = f"Write {field}{operator}{value[1:60].lstrip('=').strip()}."
        raise UserError("--filter", f"'{text[:60]}' is no filter", hint)


def _kind(field: str, fields: Mapping[str, Mapping[str, Any]]) -> str:
    usable = {
        name: str(said.get("type"))
        for name, said in fields.items()
        if said.get("type") in _KINDS and said.get("index", True)
    }
    if field in usable:
        return usable[field]
    what = "which can't be filtered by" if field in fields else "which is no field of the index"
    near = difflib.get_close_matches(field, usable, n=1, cutoff=0.5)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    raise UserError("--filter", f"names '{field}', {what}", f"{hint}It has: {', '.join(usable)}.")


def _value(field: str, kind: str, text: str) -> object:
    read, what = _KINDS[kind]
    try:
        return read(text)
    except (ValueError, KeyError):
        raise UserError(
            "--filter", f"{text[:60]!r} is not what '{field}' holds", f"Give {what}."
        ) from None
