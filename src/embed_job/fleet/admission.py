"""Whether a job may work on its output: one of its hosts takes the lease, the others share it.

A job that finds another run alive leaves the work to that one, all of its hosts alike.
"""

from __future__ import annotations

import time

from embed_job.commit.commits import Commits
from embed_job.commit.lease import HeldError, Holder, Lease, Rhythm
from embed_job.fleet.records import Admission, JobFolder
from embed_job.stop import StopSignals


class LeftError(HeldError):
    """The job leaves its work to the run that holds the output, named in `by`."""


def admitted(
    room: JobFolder, commits: Commits, holder: Holder, *, rhythm: Rhythm, stop: StopSignals
) -> Lease:
    """The lease of a job, taken or shared. holder: whose run is the job's name.

    Raises LeftError where the job is left to another run, HeldError where another run has taken
    over the output since this job was admitted.
    """
    known = room.admission()
    while True:
        if known is not None and known.left_to:
            raise _left(commits, known.left_to)
        generation = known.generation if known else None
        lease = Lease(commits, holder, rhythm=rhythm, generation=generation, lost=stop.ask)
        try:
            lease.take(stopping=lambda: stop.requested)
        except HeldError as held:
            if known is not None or stop.requested:
                raise
            known = room.admit(Admission(generation=0, left_to=held.by, at=time.time()))
            continue
        if known is None:
            mine = Admission(generation=lease.generation, left_to="", at=time.time())
            known = room.admit(mine)
        if known.generation == lease.generation:
            return lease
        lease.release()


def resumed(room: JobFolder, commits: Commits, holder: Holder, *, rhythm: Rhythm) -> Lease:
    """The lease of a job that is to be ended from elsewhere. Raises HeldError where another run
    holds the output, or has held it since this job was admitted; the job may be ended later."""
    known = room.admission()
    if known is not None and known.left_to:
        raise _left(commits, known.left_to)
    generation = known.generation if known else None
    lease = Lease(commits, holder, rhythm=rhythm, generation=generation)
    lease.take()
    if known is None:
        room.admit(Admission(generation=lease.generation, left_to="", at=time.time()))
    return lease


def _left(commits: Commits, by: str) -> LeftError:
    return LeftError(
        commits.folder,
        by,
        f"this job has left its work to {by}, which was at work on this output",
        "Submit again where that one has not done it.",
    )
