"""A document that kills its worker each time is found, set aside and named; all others land.

The worker is killed for real: the bundle's graph is changed so that one token sends it into a
loop that never ends (the watchdog kills it), or beyond the end of its embedding table.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from embed_job.embedding import cases_of
from embed_job.errors import ExitCode
from embed_job.plan import make_plan
from embed_job.spec import JobSpec
from embed_job.workers.messages import WorkerConfig
from embed_job.workers.pool import Listener, Pool
from embed_job.workers.supply import AllCases

POISON = "zebra"


def bundle_with(source: Path, target: Path, change: Callable[[onnx.ModelProto, int], None]) -> Path:
    """A copy whose tokenizer knows POISON, as the last id, and whose graph is changed."""
    shutil.copytree(source, target)
    tokenizer = json.loads((target / "tokenizer.json").read_text())
    token = max(tokenizer["model"]["vocab"].values()) + 1
    tokenizer["model"]["vocab"][POISON] = token
    (target / "tokenizer.json").write_text(json.dumps(tokenizer))
    graph = onnx.load(target / "model.onnx")
    change(graph, token)
    onnx.save(graph, target / "model.onnx")
    (target / "model.onnx.data").unlink(missing_ok=True)
    info = json.loads((target / "bundle.json").read_text())
    info["files"] = {
        name: hashlib.sha256((target / name).read_bytes()).hexdigest()
        for name in info["files"]
        if (target / name).exists()
    }
    (target / "bundle.json").write_text(json.dumps(info))
    return target


def never_end(graph: onnx.ModelProto, token: int) -> None:
    """Add to the output the zero that a loop yields which runs as long as the token is there."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["x"], ["y"])],
        "spin",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, []),
        ],
    )
    ids, output = graph.graph.input[0], graph.graph.output[0]
    last = next(n for n in reversed(graph.graph.node) if output.name in n.output)
    last.output[list(last.output).index(output.name)] = "unharmed"
    kind = ids.type.tensor_type.elem_type
    graph.graph.initializer.extend(
        [
            helper.make_tensor("poison", kind, [], [token]),
            helper.make_tensor("poison_trips", TensorProto.INT64, [], [2**62]),
            helper.make_tensor("poison_nothing", TensorProto.FLOAT, [], [0.0]),
        ]
    )
    graph.graph.node.extend(
        [
            helper.make_node("Equal", [ids.name, "poison"], ["hits"]),
            helper.make_node("Cast", ["hits"], ["hits_i"], to=TensorProto.INT32),
            helper.make_node("ReduceMax", ["hits_i"], ["hit_i"], keepdims=0),
            helper.make_node("Cast", ["hit_i"], ["hit"], to=TensorProto.BOOL),
            helper.make_node(
                "Loop", ["poison_trips", "hit", "poison_nothing"], ["poison_zero"], body=body
            ),
            helper.make_node("Add", ["unharmed", "poison_zero"], [output.name]),
        ]
    )


def nothing(graph: onnx.ModelProto, token: int) -> None:
    """The token is beyond the embedding table as it is."""


def nan_row(graph: onnx.ModelProto, token: int) -> None:
    """Give the token an embedding that is not a number."""
    for tensor in graph.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.ndim == 2 and array.shape[0] == token:
            wider = numpy_helper.from_array(
                __import__("numpy").vstack([array, array[:1] * float("nan")]), tensor.name
            )
            tensor.CopyFrom(wider)
            return
    raise AssertionError("no embedding table")


def poisoned(job: Any, at: tuple[int, ...], documents: int = 24) -> None:
    job.write(
        "a.jsonl",
        [
            {"id": f"d{n:02}", "text": f"river {POISON if n in at else 'stone'} {n}"}
            for n in range(documents)
        ],
    )
    job.spec["model"] = {"bundle": str(job.folder / "bundle")}
    job.spec["input"]["max_rejected_fraction"] = 0.5


@pytest.mark.slow
def test_a_document_that_hangs_its_worker_is_set_aside(job: Any, tiny_bundle: Path) -> None:
    poisoned(job, (5,), documents=8)
    bundle_with(tiny_bundle, job.folder / "bundle", never_end)
    job.spec["execution"] = {"workers": 1, "stall_timeout_s": 4}
    result = job.run()
    assert result.exit_code is ExitCode.OK
    assert result.report.rejected_by_reason == {"kills_worker": 1}
    (letter,) = job.letters()
    assert (letter["id"], letter["line"], letter["stage"]) == ("d05", 6, "embed")
    assert "no progress for 4 s" in letter["detail"]
    assert sorted(job.rows()) == [f"d{n:02}" for n in range(8) if n != 5]


@pytest.mark.parametrize("threads", [1, 2])
def test_documents_that_make_the_model_fail_are_set_aside(
    job: Any, tiny_bundle: Path, threads: int
) -> None:
    poisoned(job, (0, 9, 23))
    bundle_with(tiny_bundle, job.folder / "bundle", nothing)
    job.spec["execution"] = {"workers": 1, "threads_per_worker": threads}
    result = job.run()
    assert result.exit_code is ExitCode.OK
    assert result.report.rejected_by_reason == {"kills_worker": 3}
    assert sorted(letter["id"] for letter in job.letters()) == ["d00", "d09", "d23"]
    assert len(job.rows()) == 21


def test_too_many_such_documents_end_the_run_with_one_message(job: Any, tiny_bundle: Path) -> None:
    poisoned(job, tuple(range(12)))
    bundle_with(tiny_bundle, job.folder / "bundle", nothing)
    job.spec["execution"] = {"workers": 1, "max_poison_documents": 2}
    job.write("b.jsonl", [{"id": "other", "text": "stone"}])
    result = job.run()
    assert result.exit_code is ExitCode.WORKER
    assert "more than 2 of its documents" in result.report.problems[0]
    assert sorted(job.rows()) == ["other"]


def test_a_vector_that_is_not_a_number_is_a_dead_letter(job: Any, tiny_bundle: Path) -> None:
    poisoned(job, (5,))
    bundle_with(tiny_bundle, job.folder / "bundle", nan_row)
    result = job.run()
    assert result.exit_code is ExitCode.OK
    assert result.report.rejected_by_reason == {"bad_vector": 1}
    assert [letter["id"] for letter in job.letters()] == ["d05"]
    assert len(job.rows()) == 23


@pytest.mark.parametrize("threads", [1, 2])
def test_a_document_whose_last_chunk_has_no_vector_is_refused_whole(
    job: Any, tiny_bundle: Path, threads: int
) -> None:
    poisoned(job, ())
    long = " ".join(f"Sentence {n} of rivers." for n in range(60))
    path = job.write(
        "b.jsonl", [{"id": "long", "text": f"{long} A {POISON}."}, {"id": "after", "text": "stone"}]
    )
    assert path.exists()
    bundle_with(tiny_bundle, job.folder / "bundle", nan_row)
    job.spec["execution"] = {"workers": 1, "threads_per_worker": threads, "window_mib": 0.0002}
    result = job.run()
    assert result.exit_code is ExitCode.OK
    assert result.report.rejected_by_reason == {"bad_vector": 1}
    assert sorted(job.rows()) == ["after", *(f"d{n:02}" for n in range(24))]


def test_what_fails_beside_a_gpu_ends_its_worker_and_is_found_nonetheless(
    job: Any, tiny_bundle: Path
) -> None:
    poisoned(job, (9,))
    bundle_with(tiny_bundle, job.folder / "bundle", nothing)
    job.spec["model"]["engine"] = "onnx"
    plan = make_plan(JobSpec.model_validate(job.spec))
    (case,) = cases = list(cases_of(plan).values())
    events: list[tuple[str, dict[str, Any]]] = []
    pool = Pool(
        WorkerConfig(
            number=0,
            spec=plan.spec,
            dataset=plan.dataset,
            input_uri=plan.place.source_uri,
            spool=str(job.folder),
            host="",
            gpus=("0",),
        ),
        AllCases(cases),
        workers=1,
        listener=Listener(
            progress=lambda _: None,
            committed=lambda *_: None,
            event=lambda name, facts: events.append((name, facts)),
        ),
        stopping=lambda: False,
        clock=time.monotonic,
    )
    pool.run()
    assert case.done
    assert [letter["id"] for letter in job.letters()] == ["d09"]
    assert len(job.rows()) == 23
    names = [name for name, _ in events]
    assert names.count("worker_replaced") == names.count("split_failed") > 2
    assert names.count("poison_document") == 1
