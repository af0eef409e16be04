"""The index that a job fills, as a plan finds it out from a bundle."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from embed_job.bundle.build import build_bundle
from embed_job.errors import SpecError
from embed_job.spec import JobSpec
from launcher.planning.index import IndexFacts, find_index, index_calls

URL = "https://search.example.com"


def spec_of(bundle: Path, *, first: bool = False, **options: Any) -> JobSpec:
    """first: the index stands before the Parquet."""
    outputs = [
        {"parquet": {"uri": "s3://data/out/"}},
        {"opensearch": {"url": URL, "alias": "kb", **options}},
    ]
    return JobSpec.model_validate(
        {
            "name": "kb",
            "input": {"uri": "s3://data/in/"},
            "model": {"bundle": str(bundle)},
            "outputs": outputs[::-1] if first else outputs,
            "compute": {"instance_count": 3},
        }
    )


def found(spec: JobSpec, *, rows: int | None = 1_000_000) -> IndexFacts:
    facts = find_index(spec, rows=rows)
    assert facts is not None
    return facts


def test_its_name_is_of_the_fingerprint_and_so_another_for_another_chunking(
    tiny_bundle: Path,
) -> None:
    spec = spec_of(tiny_bundle)
    other = spec.model_copy(
        update={"chunk": spec.chunk.model_copy(update={"strategy": "truncate"})}
    )
    names = {found(one).name for one in (spec, other, spec_of(tiny_bundle, replicas=2))}
    assert len(names) == 2
    assert all(name and name.startswith("kb-") for name in names)
    assert found(spec_of(tiny_bundle, index="kb-2026")).name == "kb-2026"


def test_memory_follows_storage_and_copies(tiny_bundle: Path) -> None:
    def memory(**options: Any) -> int:
        facts = found(spec_of(tiny_bundle, **options))
        assert facts.memory_bytes is not None
        return facts.memory_bytes

    plain = memory(replicas=0)
    assert memory(replicas=1) == pytest.approx(2 * plain)
    half = memory(replicas=0, graph={"storage": "float16"})
    disk = memory(replicas=0, graph={"storage": "on_disk"})
    assert plain > half > disk
    assert memory(replicas=0, graph={"m": 64}) > plain


def test_what_is_not_known_is_not_guessed(tiny_bundle: Path, tmp_path: Path) -> None:
    facts = found(spec_of(tiny_bundle), rows=None)
    assert (facts.memory_bytes, facts.request_bytes) == (None, None)
    facts = found(spec_of(tmp_path / "none"))
    assert (facts.name, facts.memory_bytes) == (None, None)
    plain = spec_of(tiny_bundle)
    assert find_index(plain.model_copy(update={"outputs": plain.outputs[:1]}), rows=1) is None


def test_what_does_not_go_with_the_model_is_told_where_it_stands(
    tiny_models: ModuleType, tmp_path: Path
) -> None:
    model = tiny_models.write_model(tmp_path / "model", normalize=False)
    build_bundle(str(model), tmp_path / "bundle")
    for first, place in ((False, 1), (True, 0)):
        spec = spec_of(tmp_path / "bundle", first=first, graph={"storage": "byte"})
        with pytest.raises(SpecError) as caught:
            find_index(spec, rows=1)
        assert caught.value.where == f"outputs.{place}.opensearch.graph.storage"


def test_each_host_reads_the_password_and_bulks_are_of_the_spec_s_size(tiny_bundle: Path) -> None:
    secret = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:kb-AbCdEf"  # noqa: S105 - its name
    spec = spec_of(tiny_bundle, secret_arn=secret, bulk={"max_mib": 1})
    calls = list(index_calls(spec, found(spec)))
    assert (calls[0].action, calls[0].resource, calls[0].times) == (
        "secretsmanager:GetSecretValue",
        secret,
        3,
    )
    [bulk] = [call for call in calls if call.resource.endswith("/_bulk")]
    size = found(spec).request_bytes
    assert size is not None
    assert bulk.times == round(size / (1 << 20))
    assert bulk.action == "POST"
