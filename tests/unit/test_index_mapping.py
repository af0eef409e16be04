"""The index that a spec makes, and what counts as another one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from embed_job.errors import SpecError
from embed_job.manifest import DatasetDescriptor
from embed_job.opensearch.index.mapping import differences, index_body
from embed_job.opensearch.target import IndexTarget
from embed_job.spec.opensearch import OpenSearchOutput

DATASET = DatasetDescriptor(
    name="kb",
    input_uri="in",
    fingerprint="f" * 64,
    model_fingerprint="a" * 64,
    bundle="bundle",
    engine="onnx",
    precision="fp32",
    prompt="",
    dimension=8,
    normalized=True,
    max_tokens=64,
    vector_type="float32",
    text=True,
    columns={
        "language": "string",
        "pages": "int64",
        "score": "float64",
        "free": "bool",
        "at": "timestamp",
        "meta.url": "string",
    },
    created_at=0.0,
)
SERVERLESS = "https://abc.eu-west-1.aoss.amazonaws.com"


def target_of(
    dataset: dict[str, Any] | None = None,
    graph: dict[str, Any] | None = None,
    **options: Any,
) -> IndexTarget:
    plain = {"url": "http://127.0.0.1:9200", "alias": "kb", "graph": graph or {}} | options
    return IndexTarget(
        OpenSearchOutput.model_validate(plain), DATASET.model_copy(update=dataset or {})
    )


def described(target: IndexTarget) -> dict[str, Any]:
    """The index as a server would describe it, straight after its creation."""
    body = copy.deepcopy(index_body(target, load="0" * 12))
    body["settings"] = {name: str(value).lower() for name, value in body["settings"].items()}
    properties = body["mappings"]["properties"]
    if "meta.url" in properties:
        properties["meta"] = {"properties": {"url": properties.pop("meta.url")}}
    return body


def test_an_index_is_named_after_alias_fingerprint_and_generation() -> None:
    assert target_of().name == "kb-ffffffffff-001"
    assert target_of(generation=12).name == "kb-ffffffffff-012"
    assert target_of().write_name == "kb-ffffffffff-001-load"
    assert target_of(index="mine").name == "mine"
    assert target_of(url=SERVERLESS).write_name == "kb-ffffffffff-001"


def test_the_body_is_strict_typed_and_says_whose_it_is() -> None:
    body = index_body(target_of(graph={"ef_search": 77}, shards=3, replicas=2), load="abc")
    assert body["settings"] == {
        "index.knn": True,
        "index.knn.algo_param.ef_search": 77,
        "index.number_of_shards": 3,
        "index.number_of_replicas": 2,
    }
    mappings = body["mappings"]
    assert mappings["dynamic"] == "strict"
    assert mappings["_meta"]["embed_job"]["fingerprint"] == "f" * 64
    assert mappings["_meta"]["embed_job"]["load"] == "abc"
    assert mappings["_meta"]["embed_job"]["alias"] == "kb"
    types = {name: field["type"] for name, field in mappings["properties"].items()}
    assert types == {
        "doc_id": "keyword",
        "chunk": "integer",
        "char_start": "long",
        "char_end": "long",
        "n_tokens": "integer",
        "content_hash": "keyword",
        "split": "keyword",
        "text": "text",
        "language": "keyword",
        "pages": "long",
        "score": "double",
        "free": "boolean",
        "at": "date",
        "meta.url": "keyword",
        "vector": "knn_vector",
    }
    assert body["aliases"] == {"kb-ffffffffff-001-load": {"is_hidden": True}}


def test_serverless_gets_an_id_field_and_nothing_that_it_does_not_take() -> None:
    body = index_body(target_of(url=SERVERLESS, shards=3), load="abc")
    assert set(body["settings"]) == {"index.knn", "index.knn.algo_param.ef_search"}
    assert body["mappings"]["properties"]["id"] == {"type": "keyword"}
    assert "aliases" not in body


@pytest.mark.parametrize(
    ("graph", "normalized", "wanted"),
    [
        ({}, True, {"engine": "faiss", "space_type": "innerproduct"}),
        ({"engine": "lucene"}, False, {"engine": "lucene", "space_type": "cosinesimil"}),
    ],
)
def test_engine_and_space_are_always_told(
    graph: dict[str, Any], normalized: bool, wanted: dict[str, Any]
) -> None:
    target = target_of({"normalized": normalized}, graph)
    method = index_body(target, load="x")["mappings"]["properties"]["vector"]["method"]
    assert wanted.items() <= method.items()
    assert method["parameters"] == {"m": 16, "ef_construction": 100}


@pytest.mark.parametrize(
    ("graph", "wanted"),
    [
        ({"storage": "byte"}, {"data_type": "byte"}),
        ({"storage": "on_disk"}, {"mode": "on_disk", "compression_level": "32x"}),
        (
            {"storage": "on_disk", "compression": "4x", "engine": "lucene"},
            {"mode": "on_disk", "compression_level": "4x"},
        ),
    ],
)
def test_storage_is_a_property_of_the_field(graph: dict[str, Any], wanted: dict[str, Any]) -> None:
    field = index_body(target_of(graph=graph), load="x")["mappings"]["properties"]["vector"]
    assert wanted.items() <= field.items()


def test_float16_is_an_encoder_that_refuses_what_does_not_fit() -> None:
    field = index_body(target_of(graph={"storage": "float16"}), load="x")
    method = field["mappings"]["properties"]["vector"]["method"]
    encoder = {"name": "sq", "parameters": {"type": "fp16", "clip": False}}
    assert method["parameters"]["encoder"] == encoder


def test_byte_needs_vectors_of_length_one() -> None:
    with pytest.raises(SpecError, match="byte needs vectors of length 1"):
        target_of({"normalized": False}, {"storage": "byte"})


def test_a_metadata_column_that_is_a_field_of_ours_is_refused() -> None:
    for name, options in (("split", {}), ("generation", {"url": SERVERLESS})):
        with pytest.raises(SpecError, match=f"'{name}' is a field of every index"):
            target_of({"columns": {name: "string"}}, **options)
    target_of({"columns": {"generation": "string"}})


@pytest.mark.parametrize(
    "graph",
    [{}, {"storage": "float16"}, {"storage": "byte"}, {"storage": "on_disk"}],
)
def test_an_index_of_the_same_spec_does_not_differ(graph: dict[str, Any]) -> None:
    target = target_of(graph=graph)
    assert differences(target, described(target)) == []


def test_what_can_change_without_harm_is_no_difference() -> None:
    found = described(target_of())
    found["settings"]["index.refresh_interval"] = "5s"
    found["mappings"]["properties"]["note"] = {"type": "keyword"}
    found["mappings"]["properties"]["vector"]["compression_level"] = "1x"
    assert differences(target_of(graph={"ef_search": 500}, replicas=3, shards=2), found) == []


def _vector(found: dict[str, Any]) -> dict[str, Any]:
    field: dict[str, Any] = found["mappings"]["properties"]["vector"]
    return field


def _meta(found: dict[str, Any]) -> dict[str, Any]:
    meta: dict[str, Any] = found["mappings"]["_meta"]["embed_job"]
    return meta


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda f: _vector(f).update(dimension=9), "dimension is 9, not 8"),
        (lambda f: _vector(f)["method"].update(engine="lucene"), "engine is lucene, not faiss"),
        (lambda f: _vector(f)["method"].update(space_type="l2"), "space is l2, not innerproduct"),
        (lambda f: _vector(f)["method"]["parameters"].update(m=32), "m is 32, not 16"),
        (
            lambda f: _vector(f)["method"]["parameters"].pop("ef_construction"),
            "ef_construction is not set, not 100",
        ),
        (
            lambda f: _vector(f)["method"]["parameters"].update(
                encoder={"name": "sq", "parameters": {"type": "fp16"}}
            ),
            "encoder is sq fp16, and should not be set",
        ),
        (lambda f: _vector(f).update(data_type="BYTE"), "data type is byte, not float"),
        (lambda f: _vector(f).update(mode="on_disk"), "mode is on_disk, not in_memory"),
        (
            lambda f: _vector(f).update(compression_level="8x"),
            "compression is 8x, and should not be set",
        ),
        (lambda f: f["mappings"]["properties"].pop("vector"), "'vector' is no field of vectors"),
        (lambda f: _meta(f).update(fingerprint="0" * 64), "its fingerprint is 000000000000"),
        (lambda f: _meta(f).update(model_fingerprint="0"), "its model's fingerprint is another"),
        (lambda f: f["mappings"].pop("_meta"), "it is not an index of embed-job"),
        (lambda f: _meta(f).pop("load"), "its _meta.embed_job is of another version"),
        (lambda f: f["mappings"].update(dynamic="true"), "unknown fields are not refused"),
        (lambda f: f["settings"].update({"index.knn": "false"}), "index.knn is off"),
        (lambda f: f["mappings"]["properties"].pop("pages"), "field 'pages' is missing"),
        (lambda f: f["mappings"]["properties"].pop("meta"), "field 'meta.url' is missing"),
        (
            lambda f: f["mappings"]["properties"].update(pages={"type": "keyword"}),
            "field 'pages' is keyword, not long",
        ),
    ],
)
def test_every_other_difference_is_told_in_one_clause(
    damage: Callable[[dict[str, Any]], object], told: str
) -> None:
    target = target_of()
    found = described(target)
    damage(found)
    (clause,) = differences(target, found)
    assert clause.startswith(told)
