"""The body that creates an index, and how an index that is there differs from it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from embed_job.opensearch.index.meta import META, IndexMeta, meta_of
from embed_job.opensearch.serverless.copies import GENERATION
from embed_job.opensearch.target import ID, SPLIT, VECTOR, IndexTarget
from embed_job.source.column_types import ConcreteType

_KEYWORD_CHARS = 8191
"""A longer string is kept but not searchable: Lucene takes terms of 32,766 bytes at most."""
_INDEX_TYPES: dict[ConcreteType, dict[str, Any]] = {
    "string": {"type": "keyword", "ignore_above": _KEYWORD_CHARS},
    "int64": {"type": "long"},
    "float64": {"type": "double"},
    "bool": {"type": "boolean"},
    "timestamp": {"type": "date"},
}
_DEFAULT_COMPRESSION = "32x"


def index_body(target: IndexTarget, *, load: str) -> dict[str, Any]:
    """Settings, mappings and private alias of a new index. load: its nonce."""
    output, dataset = target.output, target.dataset
    settings: dict[str, Any] = {"index.knn": True}
    if output.graph.engine == "faiss":
        settings["index.knn.algo_param.ef_search"] = output.graph.ef_search
    if not target.is_serverless:
        settings["index.number_of_shards"] = output.shards
        settings["index.number_of_replicas"] = output.replicas
    meta = IndexMeta(
        fingerprint=dataset.fingerprint,
        model_fingerprint=dataset.model_fingerprint,
        dataset=dataset.name,
        load=load,
        alias=target.alias,
    )
    body: dict[str, Any] = {
        "settings": settings,
        "mappings": {
            "dynamic": "strict",
            "_meta": {META: meta.model_dump(mode="json")},
            "properties": fields_of(target),
        },
    }
    if not target.is_serverless:
        body["aliases"] = {target.write_name: {"is_hidden": True}}
    return body


def fields_of(target: IndexTarget) -> dict[str, dict[str, Any]]:
    """Every field of a document and its type in the index."""
    fields: dict[str, dict[str, Any]] = {}
    if target.is_serverless:
        fields[ID] = {"type": "keyword"}
        fields[GENERATION] = {"type": "long"}
    fields |= {
        "doc_id": {"type": "keyword"},
        "chunk": {"type": "integer"},
        "char_start": {"type": "long"},
        "char_end": {"type": "long"},
        "n_tokens": {"type": "integer"},
        # Never searched for, but read in bulk to compare an index with its rows.
        "content_hash": {"type": "keyword", "index": False},
        SPLIT: {"type": "keyword"},
    }
    if target.dataset.text:
        fields["text"] = {"type": "text"}
    fields |= {name: dict(_INDEX_TYPES[kind]) for name, kind in target.dataset.columns.items()}
    fields[VECTOR] = vector_field(target)
    return fields


def vector_field(target: IndexTarget) -> dict[str, Any]:
    """The field of the vector: its type in memory, and its graph."""
    graph = target.output.graph
    method: dict[str, Any] = {
        "name": "hnsw",
        "engine": graph.engine,
        "space_type": target.space,
        "parameters": {"m": graph.m, "ef_construction": graph.ef_construction},
    }
    field: dict[str, Any] = {
        "type": "knn_vector",
        "dimension": target.dataset.dimension,
        "method": method,
    }
    if graph.storage == "float16":
        # clip false: a number out of fp16's range is refused, not bent to fit.
        encoder = {"name": "sq", "parameters": {"type": "fp16", "clip": False}}
        method["parameters"]["encoder"] = encoder
    elif graph.storage == "byte":
        field["data_type"] = "byte"
    elif graph.storage == "on_disk":
        field["mode"] = "on_disk"
        field["compression_level"] = graph.compression or _DEFAULT_COMPRESSION
    return field


def differences(target: IndexTarget, found: Mapping[str, Any]) -> list[str]:
    """Why an index is not the one wanted, one clause each; [] where it is.

    found: the index as ``GET /<index>?flat_settings=true`` answers, without its name: mappings
    and settings. Further fields and settings of others are no difference.
    """
    mappings = found.get("mappings", {})
    fields = dict(fields_by_name(mappings.get("properties") or {}))
    told = [*_meta_differences(target, found)]
    if str(found.get("settings", {}).get("index.knn", "true")).lower() != "true":
        told.append("index.knn is off")
    if str(mappings.get("dynamic", "true")).lower() != "strict":
        told.append("unknown fields are not refused (dynamic is not strict)")
    told += _vector_differences(vector_field(target), fields.get(VECTOR))
    for name, wanted in fields_of(target).items():
        if name != VECTOR:
            told += _field_differences(name, wanted, fields.get(name))
    return told


def _meta_differences(target: IndexTarget, found: Mapping[str, Any]) -> Iterator[str]:
    plain = (found.get("mappings", {}).get("_meta") or {}).get(META)
    meta = meta_of(found)
    if plain is None:
        yield "it is not an index of embed-job (its mapping has no _meta.embed_job)"
    elif meta is None:
        yield "its _meta.embed_job is of another version"
    else:
        wanted = target.dataset
        if meta.fingerprint != wanted.fingerprint:
            yield (
                f"its fingerprint is {meta.fingerprint[:12]}, the output's "
                f"{wanted.fingerprint[:12]}: another model, chunking or input field"
            )
        elif meta.model_fingerprint != wanted.model_fingerprint:
            yield "its model's fingerprint is another"


def _vector_differences(field: dict[str, Any], found: dict[str, Any] | None) -> Iterator[str]:
    if found is None or found.get("type") != "knn_vector":
        yield f"'{VECTOR}' is no field of vectors"
        return
    ours, theirs = _properties(field), _properties(found)
    for name, value in ours.items():
        if theirs.get(name) != value:
            wanted = "and should not be set" if value is None else f"not {value}"
            yield f"{name} is {_shown(theirs.get(name))}, {wanted}"


def _properties(field: Mapping[str, Any]) -> dict[str, object]:
    """What makes two vector fields the same, by the name that a message gives it."""
    method = field.get("method") or {}
    parameters = method.get("parameters") or {}
    encoder = parameters.get("encoder") or {}
    kind = (encoder.get("parameters") or {}).get("type")
    compression = field.get("compression_level")
    return {
        "dimension": field.get("dimension"),
        "engine": method.get("engine"),
        "method": method.get("name"),
        # Newer servers show the space of the field, not of the method.
        "space": method.get("space_type") or field.get("space_type"),
        "m": parameters.get("m"),
        "ef_construction": parameters.get("ef_construction"),
        "encoder": f"{encoder['name']} {kind or ''}".strip() if encoder.get("name") else None,
        "data type": str(field.get("data_type", "float")).lower(),
        "mode": str(field.get("mode", "in_memory")).lower(),
        "compression": None if compression in ("1x", "not_configured") else compression,
    }


def _field_differences(
    name: str, wanted: Mapping[str, Any], found: Mapping[str, Any] | None
) -> Iterator[str]:
    if found is None:
        yield f"field '{name}' is missing"
    elif found.get("type") != wanted["type"]:
        yield f"field '{name}' is {found.get('type')}, not {wanted['type']}"


def fields_by_name(
    properties: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Fields by their full names: a dot in a column's name makes an object in the mapping."""
    for name, field in properties.items():
        if "type" in field or "properties" not in field:
            yield prefix + name, field
        if "properties" in field:
            yield from fields_by_name(field["properties"], f"{prefix}{name}.")


def _shown(value: object) -> str:
    return "not set" if value is None else str(value)
