"""What goes wrong on some days, each with the proof that its guard tripped and nothing was lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import psutil

from tests.simulation.program import ended, kill, wait_until
from tests.simulation.world import INPUT, Pipeline, World, same

OUTPUT, INCOMPLETE = 4, 6
"""Exit codes."""
DAY_S = 86_400.0


def killed(world: World, pipeline: Pipeline) -> None:
    """A run is killed at a moment of chance; the next one heals what it left."""
    moments: dict[str, Callable[[], object]] = {
        "as soon as it held the lease": pipeline.output.holder,
        "after its first commit": lambda: pipeline.output.committed().keys() - pipeline.counted,
        "once its generation was committed": partial_load(world, pipeline),
    }
    moment = world.corpus.random.choice(sorted(moments))
    process = world.program.start(*world.run_command(pipeline))
    with world.nothing_amiss(pipeline):
        in_time = wait_until(moments[moment], process)
        kill(process)
    world.notes.append(f"killed {moment}" if in_time else f"too quick to be killed {moment}")
    world.night(pipeline)


def partial_load(world: World, pipeline: Pipeline) -> Callable[[], object]:
    """Whether a newer job than today's is committed."""
    before = pipeline.output.generation()
    return lambda: pipeline.output.generation() > before


def clock_jumps_back(world: World, pipeline: Pipeline) -> None:
    """A run whose clock is forty days late, with everything that was there written later."""
    world.night(pipeline, clock_shift_s=-40 * DAY_S)
    world.notes.append("with a clock that went back forty days")


def partial_listing(world: World, pipeline: Pipeline) -> None:
    """A listing that leaves out one small file: below the allowed fraction, and refused for it."""
    generation = pipeline.output.generation()
    file = min(world.corpus.files, key=lambda name: len(world.corpus.files[name]))
    world.aws.hidden = {f"{INPUT}{file}"}
    try:
        with world.nothing_amiss(pipeline):
            done = world.program.run(
                *world.run_command(pipeline), "--set", "refresh.max_delete_fraction=1"
            )
    finally:
        world.aws.hidden = set()
    assert done.code == INCOMPLETE, done.told
    assert file in done.told
    world.unchanged(pipeline, generation=generation)
    world.notes.append(f"a listing without {file} was refused")
    world.night(pipeline)


def mass_deletion(world: World, pipeline: Pipeline) -> None:
    """Files vanish: refused, until they are back or it is allowed; then it costs no embedding."""
    generation = pipeline.output.generation()
    kept = dict(world.corpus.files)
    file = max(kept, key=lambda name: len(kept[name]))
    world.corpus.shrink(file)
    world.publish()
    done = world.program.run(*world.run_command(pipeline))
    assert done.code == INCOMPLETE, done.told
    assert "refresh.max_delete_fraction" in done.told
    world.unchanged(pipeline, generation=generation)
    world.notes.append(f"the loss of {file} was refused, then allowed")
    allowed = ("--set", "refresh.max_delete_fraction=0.5")
    world.program.must(*world.run_command(pipeline), *allowed)
    world.settle(pipeline)
    world.corpus.files[file] = kept[file]
    world.publish()
    world.night(pipeline)
    world.notes.append("and made good")


def two_runs(world: World, pipeline: Pipeline) -> None:
    """Two at once: one is alive and slow, the other leaves the work to it."""
    with world.nothing_amiss(pipeline):
        first = world.program.start(*world.run_command(pipeline))
        parent = psutil.Process(first.pid)
        assert wait_until(lambda: pipeline.output.holder() and parent.children(), first)
        leaving = world.program.start(*world.run_command(pipeline))
        try:
            while leaving.poll() is None:  # workers that come up later sleep as well
                for worker in parent.children(recursive=True):
                    worker.suspend()
                time.sleep(0.02)
        finally:
            for worker in parent.children(recursive=True):
                worker.resume()
        second, done = ended(leaving), ended(first)
    assert done.code == 0, done.told
    assert second.code == OUTPUT, second.told
    assert "is at work on this output" in second.told
    world.settle(pipeline)
    world.notes.append("two runs at once: one left it to the other")


def zombie(world: World, pipeline: Pipeline) -> None:
    """A run sleeps in the middle, another takes over and ends; what wakes up changes nothing."""
    asleep = world.program.start(*world.run_command(pipeline))
    assert wait_until(lambda: pipeline.output.committed().keys() - pipeline.counted, asleep)
    os.killpg(asleep.pid, signal.SIGSTOP)
    try:
        _, overtaken = world.embedded_since(pipeline)
        world.corpus.live_through(2)
        world.publish()
        world.night(pipeline, overtaken=overtaken)
        generation = pipeline.output.generation()
    finally:
        os.killpg(asleep.pid, signal.SIGCONT)
    woken = ended(asleep)
    assert woken.code != 0, woken.told
    assert pipeline.output.generation() == generation
    same(world.index.rows(), pipeline.rows, "the index")
    # What it still committed of yesterday's input counts for nothing, and the next run removes it.
    if late := pipeline.output.committed().keys() - pipeline.counted:
        pipeline.counted |= late
        pipeline.known.replace_more()
    world.night(pipeline)
    world.notes.append("a run that slept through its successor was fenced")


def nothing_changes(world: World, pipeline: Pipeline) -> None:
    """A run over an input that is as it was."""
    world.night(pipeline)


def file_renamed(world: World, pipeline: Pipeline) -> None:
    """All of a file's documents are elsewhere, and none of them is new."""
    world.notes.append(f"a file renamed to {world.corpus.rename_a_file()}")
    world.publish()
    world.night(pipeline)
