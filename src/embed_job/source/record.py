"""A record's fields to a document's id, text and metadata, or the reason why not."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from embed_job.records import MetadataValue, Reason
from embed_job.source.column_types import ConcreteType, convert
from embed_job.spec import InputSpec

EXCERPT_CHARS = 120
ID_EXCERPT_CHARS = 64
INVISIBLE = frozenset(["Cc", "Cf", "Zs", "Zl", "Zp"])
AS_IT_IS: dict[ConcreteType, type] = {
    "string": str,
    "int64": int,
    "float64": float,
    "bool": bool,
}
"""Values of these need no conversion, but that an integer may be wider than 64 bits."""
_LEAST, _GREATEST = -(2**63), 2**63 - 1
_find_word = re.compile(r"\w").search


class Refused(Exception):  # noqa: N818 - no error: an answer
    """One record can't become a document."""

    def __init__(self, reason: Reason, detail: str, doc_id: str | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.doc_id = doc_id


class Assembler:
    """Takes records of one split. absent_fields counts, for each field of the spec, the documents
    that lack it (a text field also where it is null)."""

    def __init__(self, spec: InputSpec, metadata: Mapping[str, ConcreteType]) -> None:
        self.absent_fields: dict[str, int] = {}
        self._id = spec.fields.id
        self._texts = spec.fields.text
        self._only_text = self._texts[0] if len(self._texts) == 1 else None
        self._columns: list[tuple[str, ConcreteType, Any]] = [
            (name, kind, AS_IT_IS.get(kind)) for name, kind in metadata.items()
        ]
        self._max_id_bytes = spec.max_id_bytes

    @property
    def names(self) -> list[str]:
        """The fields that are read, each once."""
        return list(dict.fromkeys([self._id, *self._texts, *(name for name, *_ in self._columns)]))

    def of_text(self, name: str, text: str) -> Mapping[str, str]:
        """The record of a text file: its name is the id; it has no metadata."""
        return {**dict.fromkeys(self._texts, ""), self._texts[0]: text, self._id: name}

    def assemble(self, record: Mapping[str, Any]) -> tuple[str, str, tuple[MetadataValue, ...]]:
        """(doc_id, text, metadata) of one record; :class:`Refused` where it has none."""
        doc_id: Any = record.get(self._id)
        if doc_id.__class__ is not str or not doc_id or len(doc_id) * 4 > self._max_id_bytes:
            doc_id = self._checked_id(doc_id)
        if self._only_text is None:
            text: Any = self._joined_text(record, doc_id)
        else:
            text = record.get(self._only_text)
            if text.__class__ is not str:
                raise self._no_text(record, doc_id)
        if not _find_word(text) and is_invisible(text):
            raise Refused(Reason.EMPTY_TEXT, _empty_detail(text), doc_id)
        return doc_id, text, self._metadata(record, doc_id) if self._columns else ()

    def _checked_id(self, value: object) -> str:
        if value is None or value == "":
            raise Refused(Reason.MISSING_ID, f"no value in the field '{self._id}'")
        if isinstance(value, bool) or not isinstance(value, str | int):
            detail = f"'{self._id}' is {_kind(value)}; an id is a string or an integer"
            raise Refused(Reason.BAD_ID, detail)
        doc_id = str(value)
        size = len(doc_id.encode())
        if size > self._max_id_bytes:
            detail = f"{size} bytes; max_id_bytes allows {self._max_id_bytes}"
            raise Refused(Reason.ID_TOO_LONG, detail, doc_id[:ID_EXCERPT_CHARS] + "…")
        return doc_id

    def _joined_text(self, record: Mapping[str, Any], doc_id: str) -> str:
        values = [record.get(name) for name in self._texts]
        try:
            if "" not in values:
                return "\n".join(values)  # type: ignore[arg-type]
        except TypeError:
            pass  # one of them is null or no string: told apart below
        present = [value for value in values if value is not None]
        if not present or any(value.__class__ is not str for value in present):
            raise self._no_text(record, doc_id)
        for name, value in zip(self._texts, values, strict=True):
            if value is None:
                self._count_absent(name)
        return "\n".join([value for value in present if value])

    def _no_text(self, record: Mapping[str, Any], doc_id: str) -> Refused:
        for name in self._texts:
            value = record.get(name)
            if value is not None and not isinstance(value, str):
                return Refused(Reason.BAD_TEXT, f"'{name}' is {_kind(value)}, not text", doc_id)
        names = ", ".join(f"'{name}'" for name in self._texts)
        return Refused(Reason.MISSING_TEXT, f"no value in the text field {names}", doc_id)

    def _metadata(self, record: Mapping[str, Any], doc_id: str) -> tuple[MetadataValue, ...]:
        values: list[MetadataValue] = []
        for name, kind, fitting in self._columns:
            value: Any = record.get(name)
            if value.__class__ is fitting and (fitting is not int or _LEAST <= value <= _GREATEST):
                values.append(value)
                continue
            if value is None and name not in record:
                self._count_absent(name)
            try:
                values.append(convert(value, kind))
            except ValueError as error:
                detail = f"'{name}': {error}"
                raise Refused(Reason.BAD_METADATA, detail, doc_id) from error
        return tuple(values)

    def _count_absent(self, name: str) -> None:
        self.absent_fields[name] = self.absent_fields.get(name, 0) + 1


def is_invisible(text: str) -> bool:
    """Whether text holds nothing but white space, control and format characters."""
    return all(unicodedata.category(char) in INVISIBLE for char in set(text))


def excerpt(data: bytes | str) -> str:
    """The beginning of a record on one line, harmless to a terminal: what does not print is
    escaped."""
    text = data[:EXCERPT_CHARS]
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    return "".join([c if c.isprintable() else _escape(c) for c in text])[:EXCERPT_CHARS]


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _empty_detail(text: str) -> str:
    if not text:
        return "the text is empty"
    return f"the text is {len(text)} white-space, control or format characters"


def _kind(value: object) -> str:
    names = {
        bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"
    }  # fmt: skip
    return names.get(type(value), f"of type {type(value).__name__}")
