"""Whether the process that holds a lease still runs, where that can be told from here."""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")


def this_process() -> str:
    """This process, told apart from every other one ever: the machine's boot, the namespace of
    process numbers, the number and when it began. Empty where the system does not tell."""
    return _named(os.getpid())


def is_gone(process: str) -> bool:
    """Whether a process, as this_process named it, has ended. False where it can't be told: it is
    of another machine or container, or nameless."""
    place, _, _ = process.rpartition(" ")
    number = place.rpartition(" ")[2]
    if not process or not number.isdigit() or place != _place(int(number)):
        return False
    return _named(int(number)) != process


def _named(number: int) -> str:
    try:
        # The name, in parentheses, may hold anything, parentheses too.
        fields = (_PROC / str(number) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    state, began = fields[0], fields[19]
    # One that has ended stays in the table until its parent asks how.
    return "" if state in "ZX" else f"{_place(number)} {began}"


def _place(number: int) -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {(_PROC / 'self/ns/pid').readlink()} {number}"
    except OSError:
        return ""
