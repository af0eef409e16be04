"""The types of the metadata columns, and values converted to them."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

import orjson
import pyarrow as pa

from embed_job.records import MetadataValue

ConcreteType = Literal["string", "int64", "float64", "bool", "timestamp"]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
EXCERPT_CHARS = 40


def arrow_type(kind: ConcreteType) -> pa.DataType:
    """The Arrow type of a column; timestamps are in microseconds, UTC."""
    types: dict[ConcreteType, pa.DataType] = {
        "string": pa.string(),
        "int64": pa.int64(),
        "float64": pa.float64(),
        "bool": pa.bool_(),
        "timestamp": pa.timestamp("us", tz="UTC"),
    }
    return types[kind]


def convert(value: Any, kind: ConcreteType) -> MetadataValue:
    """A field's value as its column's type; a ValueError where it does not fit.

    Timestamps become microseconds since 1970, UTC where no zone is given. What is not a string
    becomes JSON text in a string column. An empty string (CSV knows no null) is null in every
    other column.
    """
    if value is None or (value == "" and kind != "string"):
        return None
    return _CONVERTERS[kind](value)


def _string(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, bytes):
        raise _unfit(value, "text")
    return orjson.dumps(value, default=str).decode()


def _int64(value: Any) -> int:
    number: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, float) and value.is_integer():
        number = int(value)
    elif isinstance(value, str):
        number = _parsed(int, value)
    if number is None:
        raise _unfit(value, "an integer")
    if not -(2**63) <= number < 2**63:
        raise _unfit(value, "an integer of 64 bits")
    return number


def _float64(value: Any) -> float:
    fits = isinstance(value, int | float | Decimal | str) and not isinstance(value, bool)
    number: float | None = _parsed(float, value) if fits else None
    if number is None or (math.isinf(number) and isinstance(value, int)):
        raise _unfit(value, "a number")
    return number


def _parsed(parse: Callable[[Any], Any], value: Any) -> Any:
    try:
        return parse(value)
    except (ValueError, OverflowError):
        return None


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    known = {"true": True, "false": False, "1": True, "0": False}
    answer = known.get(str(value).strip().lower()) if isinstance(value, str | int) else None
    if answer is None:
        raise _unfit(value, "true or false")
    return answer


def _timestamp(value: Any) -> int:
    moment: datetime | None = None
    if isinstance(value, datetime):
        moment = value
    elif isinstance(value, date):
        moment = datetime(value.year, value.month, value.day, tzinfo=UTC)
    elif isinstance(value, str):
        moment = _parsed(datetime.fromisoformat, value.strip())
    if moment is None:
        raise _unfit(value, "a time in ISO 8601")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) // MICROSECOND


_CONVERTERS: dict[ConcreteType, Callable[[Any], MetadataValue]] = {
    "string": _string,
    "int64": _int64,
    "float64": _float64,
    "bool": _bool,
    "timestamp": _timestamp,
}


def _unfit(value: Any, wanted: str) -> ValueError:
    shown = ascii(value)
    if len(shown) > EXCERPT_CHARS:
        shown = shown[:EXCERPT_CHARS] + "…"
    return ValueError(f"{shown} is not {wanted}")
