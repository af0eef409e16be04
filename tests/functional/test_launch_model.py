"""What a plan finds out from the bundle on this machine."""

from pathlib import Path

from embed_job.bundle import open_bundle
from embed_job.spec import JobSpec
from launcher.planning.model import find_model, lacking_precision


def spec_of(bundle: Path, precision: str) -> JobSpec:
    return JobSpec.model_validate(
        {
            "name": "kb",
            "input": {"uri": "s3://data/in/"},
            "model": {"bundle": bundle, "precision": precision},
            "outputs": [{"parquet": {"uri": "s3://data/out/"}}],
        }
    )


def test_every_bundle_serves_half_precision_under_a_fingerprint_of_its_own(
    tiny_bundle: Path,
) -> None:
    found = {}
    for precision in ("fp32", "fp16", "bf16"):
        model, note = find_model(spec_of(tiny_bundle, precision))
        assert model is not None, note
        assert lacking_precision(spec_of(tiny_bundle, precision)) is None
        found[precision] = model.fingerprint
    assert found["fp32"] == open_bundle(tiny_bundle).info.fingerprint
    assert len(set(found.values())) == 3


def test_a_bundle_without_int8_is_told_of_before_an_image_is_made(tiny_bundle: Path) -> None:
    spec = spec_of(tiny_bundle, "int8")
    model, note = find_model(spec)
    assert model is None
    assert "int8" in note
    problem = lacking_precision(spec)
    assert problem is not None
    assert (problem.severity, problem.where) == ("warning", "model.precision")
    assert "--precision int8" in problem.hint


def test_a_bundle_that_is_not_here_may_have_any_precision(tmp_path: Path) -> None:
    assert lacking_precision(spec_of(tmp_path / "none", "int8")) is None
