"""The program ``embed-job``: the engine's commands and the launcher's own."""

from __future__ import annotations

import sys

from embed_job.cli import app
from embed_job.cli.program import run_program
from launcher.commands.doctor import doctor_command
from launcher.commands.finalize import finalize_command
from launcher.commands.iam import iam_command
from launcher.commands.logs import logs_command
from launcher.commands.plan import plan_command
from launcher.commands.schedule import schedule_app
from launcher.commands.status import status_command
from launcher.commands.stop import stop_command
from launcher.commands.submit import submit_command

app.command("plan")(plan_command)
app.command("submit")(submit_command)
app.command("status")(status_command)
app.command("logs")(logs_command)
app.command("stop")(stop_command)
app.command("finalize")(finalize_command)
app.add_typer(schedule_app, name="schedule")
app.command("doctor")(doctor_command)
app.command("iam")(iam_command)


def main() -> None:
    """Run the command line of this process and exit with its code."""
    sys.exit(run_program(app, sys.argv[1:], name="embed-job"))


if __name__ == "__main__":
    main()
