"""One thing that a job needs: there, not there, or not to be found out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Check:
    """state: unknown where a permission to look is missing. hint: what to do; "" where ok.

    optional: whether jobs run without it.
    """

    name: str
    state: Literal["ok", "missing", "unknown"]
    detail: str
    hint: str = ""
    optional: bool = False


def ok(name: str, detail: str) -> Check:
    return Check(name, "ok", detail)


def missing(name: str, detail: str, hint: str, *, optional: bool = False) -> Check:
    return Check(name, "missing", detail, hint, optional)


def unknown(name: str, detail: str, hint: str) -> Check:
    return Check(name, "unknown", detail, hint)
