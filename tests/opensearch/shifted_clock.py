"""Run embed-job where the clock is off: shifted_clock.py SECONDS ARGUMENTS…

All of a process's calls of time.time() are shifted, whoever makes them. libfaketime can't be used:
before Python it shifts, or breaks, waits on the monotonic clock as well.
"""

from __future__ import annotations

import sys
import time

from launcher.cli import main

if __name__ == "__main__":
    shift_s = float(sys.argv.pop(1))
    true_time = time.time
    time.time = lambda: true_time() + shift_s
    main()
