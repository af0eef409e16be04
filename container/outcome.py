"""How a container ends: an exit code, and the few words that the service keeps of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embed_job.errors import ExitCode, UserError

if TYPE_CHECKING:
    from embed_job.fleet.host_share import HostResult

MESSAGE_BYTES = 1024
"""What the service keeps of all hosts' messages together."""

_LEAST_WITH_BREAK = 32

_SECRETS = re.compile(
    r"(?:AKIA|ASIA)[A-Z0-9]{16}"
    r"|(?<=://)[^/@\s]+(?=@)"
    r"|(?i:(?<=X-Amz-Signature=)|(?<=X-Amz-Security-Token=)|(?<=X-Amz-Credential=))[^&\s\"']+"
    r"|(?i:(?<=password=)|(?<=secret=)|(?<=token=))[^&\s\"']+"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """code: the process's exit code. text: one sentence or two for a human being."""

    code: ExitCode
    text: str


def of_result(result: HostResult) -> Outcome:
    """What a host's share came to, as counts; with the problem that came first, if any."""
    if result.left_to:
        at_work = f"nothing was done: left to {result.left_to}, which is at work on this output"
        return Outcome(result.exit_code, at_work)
    documents = result.counts.documents
    counts = (
        f"{result.splits_committed} of {result.splits_planned} splits, {documents.read} documents "
        f"read = {documents.written} written + {documents.rejected} rejected "
        f"+ {documents.skipped} skipped"
    )
    if result.exit_code is ExitCode.OK:
        return Outcome(result.exit_code, counts + ("; job finalized" if result.finalized else ""))
    if result.exit_code in (ExitCode.TERMINATED, ExitCode.INTERRUPTED):
        return Outcome(result.exit_code, f"stopped; submit again to go on. {counts}")
    problem = result.problems[0] if result.problems else "the job is not complete"
    return Outcome(result.exit_code, f"{problem}. {counts}")


def of_user_error(error: UserError) -> Outcome:
    """Where, what, and what to do."""
    return Outcome(error.exit_code, f"{error.where}: {error.what}. {error.hint}")


def of_bug(error: BaseException) -> Outcome:
    """Nothing but the error's type, and what could not be imported: its text may hold part of a
    document."""
    what = f"{type_of(error)} {error.name}" if isinstance(error, ImportError) else type_of(error)
    return Outcome(ExitCode.BUG, f"{what}; the log has its traceback. Please report it.")


def type_of(error: BaseException) -> str:
    """An exception's type with its module, as tracebacks show it."""
    kind = type(error)
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def without_secrets(text: str) -> str:
    """The text with what looks like a credential masked: keys, signatures, user:password@."""
    return _SECRETS.sub("***", text)


def message_bytes(outcome: Outcome, *, host: str, hosts: int) -> bytes:
    """This host's part of the service's message: one line of UTF-8, 1024 / hosts bytes at most.

    It begins with host and exit code, which is what remains where a hundred hosts share it. It
    ends in a line break where there is room, as the service puts one message behind the other.
    """
    text = f"{host} {int(outcome.code)} {outcome.code.name}: {without_secrets(outcome.text)}"
    line = "".join(char if char.isprintable() else " " for char in text)
    whole = " ".join(line.split()).encode("utf-8", "replace")
    limit = MESSAGE_BYTES // max(1, hosts)
    if limit < _LEAST_WITH_BREAK:
        return whole[:limit].decode("utf-8", "ignore").encode()
    return whole[: limit - 1].decode("utf-8", "ignore").encode() + b"\n"


def write_message(path: Path, message: bytes) -> None:
    """Leave the message for the service. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(message)
