"""One line of JSON as an object, or the reason why not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from embed_job.records import Reason
from embed_job.source.record import Refused, excerpt


def parse_json(data: bytes) -> Mapping[str, Any]:
    """:class:`Refused`: ENCODING or MALFORMED, with the place."""
    try:
        record: Any = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise _refused(data, error) from error
    if record.__class__ is not dict:
        raise Refused(Reason.MALFORMED, f"not an object: {excerpt(data)}")
    return record


def _refused(data: bytes, error: orjson.JSONDecodeError) -> Refused:
    try:
        data.decode()
    except UnicodeDecodeError as wrong:
        return not_utf8(data, wrong)
    lone = "surrogate" in error.msg
    reason = Reason.ENCODING if lone else Reason.MALFORMED
    what = f"lone surrogate ({error.msg})" if lone else error.msg
    return Refused(reason, f"{what}, column {error.colno}: {excerpt(data)}")


def not_utf8(data: bytes, error: UnicodeDecodeError) -> Refused:
    """The refusal of bytes that are not UTF-8, naming the first wrong one."""
    wrong = error.object[error.start]
    what = f"byte {error.start} of the record is 0x{wrong:02x}, not UTF-8"
    return Refused(Reason.ENCODING, f"{what}: {excerpt(data)}")
