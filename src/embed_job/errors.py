"""What can go wrong for a user, and the exit code of each.

A :class:`UserError` is the user's to mend: it is printed as one message (where, what, what to
do) without a traceback. Anything else that escapes is ours, exits 1 and shows its traceback.
"""

from __future__ import annotations

import errno
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every ``embed-job`` command; documented in ``docs/exit-codes.md``."""

    OK = 0
    BUG = 1
    """An error of ours: the traceback is what to report."""
    USAGE = 2
    """The command line or the spec is off; nothing was started."""
    INPUT = 3
    """The input is missing or can't be read."""
    OUTPUT = 4
    """The output can't be written, belongs to another job or fingerprint, or is worked on."""
    BUNDLE = 5
    """The model bundle is missing, damaged, or does not reproduce its golden vectors."""
    INCOMPLETE = 6
    """The run ended but is not a success: duplicates, too many rejected or gone, a listing that is
    not complete, sums that disagree, an output taken over by another run."""
    WORKER = 7
    """A worker process kept dying for a reason that no single document explains."""
    IMAGE = 8
    """The image and the job's script don't match, or the image lacks what the script needs."""
    INTERRUPTED = 130
    """SIGINT; what was committed stays, and the same command resumes."""
    TERMINATED = 143
    """SIGTERM; likewise."""


class UserError(Exception):
    """Something the user can mend.

    where: the file, key, field or flag; what: the fault in one clause; hint: what to do.
    """

    exit_code = ExitCode.USAGE

    def __init__(self, where: str, what: str, hint: str) -> None:
        super().__init__(f"{where}: {what}. {hint}")
        self.where = where
        self.what = what
        self.hint = hint

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str, str]]:
        return type(self), (self.where, self.what, self.hint)


class SpecError(UserError):
    exit_code = ExitCode.USAGE


class InputError(UserError):
    exit_code = ExitCode.INPUT


class OutputError(UserError):
    exit_code = ExitCode.OUTPUT


class BundleError(UserError):
    exit_code = ExitCode.BUNDLE


def output_error(error: OSError, where: str) -> OutputError | None:
    """What a user can mend about a failed write: a full disk, a folder that can't be written.

    where: the output, for errors that name no file. None: the error is something else.
    """
    place = str(error.filename or where)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(place, "the disk is full", "Free space and run again: it resumes.")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        what = f"can't be written: {error.strerror}"
        return OutputError(place, what, "Make it writable and run again: it resumes.")
    return None


class WorkerError(UserError):
    exit_code = ExitCode.WORKER
