"""Each check of verify fails on an output that was damaged for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_job.cli import app
from embed_job.cli.program import run_program
from embed_job.dataset.verify import verify_output
from embed_job.errors import ExitCode, OutputError
from embed_job.storage.local import LocalStore

PRIVATE = "_embed_job"


@pytest.fixture
def output(job: Any) -> Path:
    job.write_corpus(files=2, documents=20)
    job.run()
    return job.output  # type: ignore[no-any-return]


def failed(output: Path) -> set[str]:
    result = verify_output(LocalStore(), str(output))
    return {check.name for check in result.checks if not check.ok}


def manifest(output: Path) -> Path:
    return min((output / PRIVATE / "manifests").iterdir())


def part(output: Path) -> Path:
    name = json.loads(manifest(output).read_text())["parts"][0]["name"]
    return output / name


def rewrite(output: Path, change: Callable[[pa.Table], pa.Table], *, footer: bool = True) -> None:
    """Change a part, and its manifest with it, so that only the change itself is wrong."""
    path = part(output)
    table = pq.read_table(path)
    changed = change(table)
    changed = changed.replace_schema_metadata(table.schema.metadata if footer else {})
    pq.write_table(changed, path)
    said = json.loads(manifest(output).read_text())
    said["parts"][0] |= {
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    manifest(output).write_text(json.dumps(said))


def with_vector(table: pa.Table, value: float) -> pa.Table:
    kind = table.schema.field("vector").type
    flat = table.column("vector").combine_chunks().values.to_numpy().copy()
    flat[: kind.list_size] = value
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(flat), type=kind)
    at = table.schema.get_field_index("vector")
    return table.set_column(at, table.schema.field("vector"), vectors)


def test_a_good_output_passes(output: Path) -> None:
    assert failed(output) == set()


def test_a_missing_job_manifest(output: Path) -> None:
    (output / PRIVATE / "job.json").unlink()
    assert failed(output) == {"the job is committed"}


def test_a_missing_split(output: Path) -> None:
    manifest(output).unlink()
    assert "the job is committed" in failed(output)


def test_counts_that_do_not_add_up(output: Path) -> None:
    said = json.loads(manifest(output).read_text())
    said["counts"]["documents"]["read"] += 1
    manifest(output).write_text(json.dumps(said))
    assert failed(output) == {"the sums agree"}


def test_a_flipped_bit(output: Path) -> None:
    data = bytearray(part(output).read_bytes())
    data[len(data) // 2] ^= 1
    part(output).write_bytes(data)
    assert "files are what was committed" in failed(output)


def test_a_missing_part(output: Path) -> None:
    part(output).unlink()
    assert "files are what was committed" in failed(output)


def test_a_lost_row(output: Path) -> None:
    rewrite(output, lambda table: table.slice(1))
    assert "rows are as described" in failed(output)


def test_a_changed_text(output: Path) -> None:
    def change(table: pa.Table) -> pa.Table:
        texts = ["tampered", *table.column("text").to_pylist()[1:]]
        at = table.schema.get_field_index("text")
        return table.set_column(at, table.schema.field("text"), pa.array(texts))

    rewrite(output, change)
    assert failed(output) == {"rows are as described"}


def test_another_fingerprint_in_the_footer(output: Path) -> None:
    rewrite(output, lambda table: table, footer=False)
    assert failed(output) == {"rows are as described"}


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, 0.5])
def test_a_vector_that_is_no_unit_vector(output: Path, value: float) -> None:
    rewrite(output, lambda table: with_vector(table, value))
    assert failed(output) == {"vectors are directions"}


def test_a_doubled_row(output: Path) -> None:
    def change(table: pa.Table) -> pa.Table:
        return pa.concat_tables([table.slice(0, 1), table.slice(0, len(table) - 1)])

    rewrite(output, change)
    assert "rows are as described" in failed(output)


def test_a_stray_file(output: Path) -> None:
    (output / "part-stray.parquet").write_bytes(part(output).read_bytes())
    assert failed(output) == {"nothing else lies there"}


def test_a_folder_that_is_no_output(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is not an output"):
        verify_output(LocalStore(), str(tmp_path))


class TestCommand:
    def run(self, *arguments: str | Path) -> int:
        return run_program(app, ["verify", *map(str, arguments)], name="embed-job")

    def test_a_folder_and_its_spec_are_the_same_to_it(
        self, job: Any, output: Path, capfdbinary: Any
    ) -> None:
        said = []
        for named in (output, job.spec_file()):
            assert self.run(named, "--json") == ExitCode.OK
            said.append(json.loads(capfdbinary.readouterr().out))
        assert said[0] == said[1]
        assert said[0]["ok"] is True
        assert all(check.keys() == {"name", "ok", "detail"} for check in said[0]["checks"])

    def test_a_damaged_output_fails(self, output: Path, capfd: Any) -> None:
        part(output).unlink()
        assert self.run(output) == ExitCode.INCOMPLETE
        assert "is missing" in capfd.readouterr().out

    def test_there_is_no_index_to_examine(self, job: Any, output: Path, capfd: Any) -> None:
        for named in (output, job.spec_file()):
            assert self.run(named, "--only", "index") == ExitCode.USAGE
            assert "there is no index" in capfd.readouterr().err

    def test_overrides_need_a_spec(self, output: Path, capfd: Any) -> None:
        assert self.run(output, "--set", "name=other") == ExitCode.USAGE
        assert "needs a SPEC" in capfd.readouterr().err
