"""What runs in the image: the only room that reads ``/opt/ml`` and SageMaker's environment."""

from __future__ import annotations


def main() -> int:
    """Embed this host's share; the exit code. Called by the job's script, ``embed_shard.py``.

    Nothing escapes: whatever happens ends in one message for the service and one last log line.
    """
    from embed_job.stop import StopSignals

    # Signals first: all that follows takes seconds to import, and process 1 of a container is
    # not ended by a signal that it has no handler for.
    with StopSignals() as stop:
        import os
        import sys

        from container.contract import folders_of
        from container.run import run_container

        return run_container(folders_of(os.environ), os.environ, sys.stdout, stop=stop)
