"""The program ``embed-job``: the engine's commands; the launcher's own join here."""

from __future__ import annotations

import sys

from embed_job.cli import app
from embed_job.cli.program import run_program


def main() -> None:
    """Run the command line of this process and exit with its code."""
    sys.exit(run_program(app, sys.argv[1:], name="embed-job"))


if __name__ == "__main__":
    main()
