"""Another model: a bad one and a damaged index are refused, a good one goes live, and back."""

from __future__ import annotations

import orjson

from tests.simulation.faults import INCOMPLETE
from tests.simulation.world import Pipeline, World, same

QUERIES = 40
TINY_TOKENS = 48
"""What the bad model takes at most."""


def write_queries(world: World) -> None:
    """What people ask: beginnings of documents of the first day."""
    docs = sorted(world.corpus.docs.values(), key=lambda doc: doc.id)
    asked = [doc.text[:80] for doc in docs[:: len(docs) // QUERIES]]
    lines = [orjson.dumps({"query": text}) for text in asked]
    (world.folder / "queries.jsonl").write_bytes(b"\n".join(lines))


def model_change(world: World) -> None:
    """To int8, past the gates; on the way a model of random weights and a damaged index fail."""
    old = world.current
    world.night(old)
    live = world.index.live()
    refuse_a_bad_model(world)
    new = world.pipelines["int8"]
    world.night(new)
    name = world.index_of(new)
    world.index.delete(min(new.rows), index=name)
    refused = world.program.must("promote", new.spec, code=INCOMPLETE)
    assert "override" not in refused.told
    assert world.index.live() == live
    world.program.must("load", new.spec)
    world.program.must("promote", new.spec)
    assert world.index.live() == name
    same(world.index.rows(), new.rows, "the promoted index")
    same(world.index.rows(live), old.rows, "the index of before")
    world.live = "int8"
    world.notes.append("a damaged index was refused, mended and promoted")


def refuse_a_bad_model(world: World) -> None:
    """Its index is whole and true to its vectors, and finds other things: the canary's matter."""
    bad = world.pipelines["tiny"]
    live = world.index.live()
    world.program.must(*world.run_command(bad))
    refused = world.program.must("promote", bad.spec, code=INCOMPLETE)
    assert "canary" in refused.told, refused.told
    assert world.index.live() == live
    world.notes.append("a model of random weights fell to the canary")


def roll_back(world: World) -> None:
    """One command, and searches see the index of before; the next run brings it up to date."""
    new, old = world.current, world.pipelines["fp32"]
    world.program.must("rollback", new.spec)
    assert world.index.live() == world.index_of(old)
    same(world.index.rows(), old.rows, "the index of before")
    world.live = "fp32"
    world.notes.append("rolled back")


def first_promotion(world: World) -> None:
    """The first day: all of it, checked and made live."""
    world.night(world.current)
    world.program.must("promote", world.current.spec)
    assert world.index.live() == world.index_of(world.current)


def pipelines(world: World, *, bundle: str, tiny: str) -> dict[str, Pipeline]:
    """fp32, what is live at first; int8, the better one; tiny, a bad one."""
    return {
        "fp32": world.pipeline("fp32", bundle=bundle, precision="fp32"),
        "int8": world.pipeline("int8", bundle=bundle, precision="int8"),
        "tiny": world.pipeline("tiny", bundle=tiny, max_tokens=TINY_TOKENS),
    }
