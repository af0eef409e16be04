"""A week, or with SIMULATED_DAYS=30 a month, of nightly runs over a changing corpus, with faults.

After each day: output and index are the corpus, exactly; what went through the model is what no
kept generation held; no row that exists was ever missing in the live index. The real engine, a real
OpenSearch, S3 by moto, and the program's own commands as processes.
"""

from __future__ import annotations

import os
import sys
import time

import pytest

from tests.simulation import changeover, faults
from tests.simulation.calendar import events
from tests.simulation.world import World

DAYS = int(os.environ.get("SIMULATED_DAYS", "7"))
CHANGES = 3
"""Of each kind a day, at most."""
_CHANGEOVERS = {"model_change": changeover.model_change, "roll_back": changeover.roll_back}
_FAULTS = {
    act.__name__: act
    for act in (
        faults.killed,
        faults.clock_jumps_back,
        faults.partial_listing,
        faults.mass_deletion,
        faults.two_runs,
        faults.zombie,
        faults.nothing_changes,
        faults.file_renamed,
    )
}
lived: list[int] = []
"""Days that ended well: a day after one that did not tells nothing."""


@pytest.mark.parametrize("day", range(1, DAYS + 1))
def test_day(day: int, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(lived) == day - 1, "a day before this one failed"
    began = time.monotonic()
    world.notes.clear()
    live_through(day, world)
    lived.append(day)
    told = f"day {day:2}, {time.monotonic() - began:.0f} s: {'; '.join(world.notes)}"
    with capsys.disabled():
        sys.stdout.write(f"\n{told} ")


def live_through(day: int, world: World) -> None:
    """A day's changes, its faults and its run."""
    if day == 1:
        world.publish()
        changeover.first_promotion(world)
        return
    for event in events(DAYS).get(day, ("an_ordinary_night",)):
        if event != "nothing_changes":
            world.notes.append(str(world.corpus.live_through(CHANGES)))
            world.publish()
        if event in _CHANGEOVERS:
            _CHANGEOVERS[event](world)
        elif event in _FAULTS:
            _FAULTS[event](world, world.current)
        else:
            world.night(world.current)
