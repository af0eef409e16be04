"""The fingerprint moves with what changes a row, and with nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from embed_job.fingerprint import job_fingerprint
from embed_job.spec import JobSpec

BASE: dict[str, Any] = {
    "name": "a",
    "input": {"uri": "in", "fields": {"text": ["title", "body"]}},
    "outputs": [{"parquet": {"uri": "out"}}],
}


def fingerprint(change: dict[str, Any], **known: Any) -> str:
    spec = JobSpec.model_validate(BASE | change)
    return job_fingerprint(spec, **({"model": "m", "prompt": "", "max_tokens": 256} | known))


@pytest.mark.parametrize(
    "change",
    [
        {"chunk": {"overlap_tokens": 16}},
        {"chunk": {"strategy": "truncate"}},
        {"input": {"uri": "in", "fields": {"text": ["body", "title"]}}},
        {"input": {**BASE["input"], "on_duplicate_id": "suffix"}},
        {"input": {"uri": "in", "fields": {"text": ["title", "body"], "metadata": ["lang"]}}},
        {"model": {"engine": "null"}},
    ],
)
def test_what_changes_a_row_changes_it(change: dict[str, Any]) -> None:
    assert fingerprint(change) != fingerprint({})


@pytest.mark.parametrize("known", [{"model": "n"}, {"prompt": "passage: "}, {"max_tokens": 128}])
def test_model_prompt_and_length_change_it(known: dict[str, Any]) -> None:
    assert fingerprint({}, **known) != fingerprint({})


@pytest.mark.parametrize(
    "change",
    [
        {"execution": {"workers": 7, "batch_tokens": 64}},
        {"name": "b"},
        {"compute": {"instance_count": 3}},
        {"model": {"bundle": "elsewhere"}},
        {"chunk": {"max_tokens": 256}},
    ],
)
def test_how_and_where_it_runs_does_not(change: dict[str, Any]) -> None:
    assert fingerprint(change) == fingerprint({})
