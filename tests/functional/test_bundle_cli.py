"""``embed-job bundle``: what it answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from embed_job.cli.bundle import bundle_command
from embed_job.errors import SpecError


@pytest.fixture
def app() -> typer.Typer:
    program = typer.Typer()
    program.command()(bundle_command)
    return program


def test_it_says_what_it_made_and_how_it_was_proven(
    app: typer.Typer, tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    sample = tmp_path / "mine.txt"
    sample.write_text("read a zip file\n\nthe lazy dog\n\nthe weather", encoding="utf-8")
    arguments = [str(tiny_model), "--out", str(out)]
    made = CliRunner().invoke(
        app, [*arguments, "--precision", "int8", "--sample", str(sample), "--json"]
    )
    facts = json.loads(made.stdout)
    assert facts["made"] is True
    assert facts["precisions"] == ["fp32", "int8"]
    assert facts["least_cosine"]["numpy"] > 0.99999
    assert facts["int8_cosine"]["texts"] == 3
    assert facts["int8_cosine"]["least"] <= facts["int8_cosine"]["mean"] < 1

    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 0
    assert "nothing to do" in again.stdout
    assert facts["fingerprint"] in again.stdout


def test_an_unknown_precision(app: typer.Typer, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["default", "--out", str(tmp_path), "--precision", "fp8"])
    assert isinstance(result.exception, SpecError)
    assert result.exception.where == "--precision"
