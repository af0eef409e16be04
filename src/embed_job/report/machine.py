"""The machine, as a report names it: no host name, no path."""

from __future__ import annotations

import platform

from embed_job.machine import processor_name, usable_cores
from embed_job.report.model import Machine


def this_machine() -> Machine:
    """The machine that this process runs on."""
    return Machine(
        cores=usable_cores(),
        cpu=processor_name(),
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
    )
