"""A spec from YAML: what loads, and how each mistake is told."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embed_job.errors import SpecError
from embed_job.spec import JobSpec
from embed_job.spec.file import MAX_SPEC_BYTES, load_spec, parse_spec

MINIMAL = """\
name: kb
input:
  uri: data/
outputs:
  - parquet: {uri: out/}
"""


def mistake(text: str, *overrides: str) -> SpecError:
    with pytest.raises(SpecError) as caught:
        parse_spec(text, name="kb.yaml", overrides=overrides)
    return caught.value


def test_the_examples_load() -> None:
    examples = sorted(Path("jobs").glob("*.yaml"))
    assert examples
    for path in examples:
        assert isinstance(load_spec(path), JobSpec)


def test_a_file_loads(tmp_path: Path) -> None:
    path = tmp_path / "kb.yaml"
    path.write_text(MINIMAL)
    spec = load_spec(path, ["execution.workers=3"])
    assert spec.input.uri == "data/"
    assert spec.execution.workers == 3


def test_a_section_whose_keys_are_all_commented_out_is_the_default() -> None:
    spec = parse_spec(MINIMAL + "execution:\n  # workers: 2\nchunk:\n", name="kb.yaml")
    assert spec == parse_spec(MINIMAL, name="kb.yaml")


class TestOverrides:
    def test_values_are_yaml(self) -> None:
        spec = parse_spec(
            MINIMAL,
            name="kb.yaml",
            overrides=[
                "input.fields.text=[title, body]",
                "input.fields.metadata.lang=string",
                "outputs.0.parquet.uri=s3://bucket/a=b/",
                "model.prompt=null",
                "input.uri=*.jsonl",
            ],
        )
        assert spec.input.fields.text == ("title", "body")
        assert spec.input.fields.metadata == {"lang": "string"}
        assert spec.parquet.uri == "s3://bucket/a=b/"
        assert spec.model.prompt is None
        assert spec.input.uri == "*.jsonl"

    def test_a_whole_spec_can_be_built(self) -> None:
        overrides = ["name=a", "input.uri=b", "outputs.0.parquet.uri=c"]
        assert parse_spec("", name="x", overrides=overrides).parquet.uri == "c"

    def test_the_last_one_wins(self) -> None:
        spec = parse_spec(MINIMAL, name="x", overrides=["name=a", "name=b"])
        assert spec.name == "b"

    @pytest.mark.parametrize(
        "override",
        ["name", "=x", "a..b=1", "outputs.5.parquet.uri=x", "outputs.first=x", "name.first=x"],
    )
    def test_a_malformed_one_is_named(self, override: str) -> None:
        assert mistake(MINIMAL, override).where == f"--set {override}"

    def test_a_mistake_in_one_is_placed_there(self) -> None:
        error = mistake(MINIMAL, "chunk.strategy=truncat")
        assert error.where == "--set chunk.strategy=truncat"
        assert "'sentences' or 'truncate'" in error.what
        assert error.hint == "Did you mean 'truncate'?"

    @given(st.text(max_size=30))
    def test_no_text_escapes_as_another_error(self, text: str) -> None:
        try:
            parse_spec(MINIMAL, name="x", overrides=[text])
        except SpecError as error:
            assert error.where  # noqa: PT017 - not raising is fine too


class TestMistakes:
    def test_unknown_key_names_line_nearest_and_allowed(self) -> None:
        error = mistake(MINIMAL + "chunk:\n  max_token: 256\n")
        assert error.where == "kb.yaml:7"
        assert error.what == "unknown key 'chunk.max_token'"
        assert error.hint.startswith("Did you mean 'max_tokens'?")
        assert "strategy, max_tokens, overlap_tokens" in error.hint

    def test_a_key_of_another_section_is_sent_there(self) -> None:
        assert "'execution.workers'" in mistake(MINIMAL + "workers: 2\n").hint

    def test_a_misspelt_required_key_is_one_mistake(self) -> None:
        error = mistake(MINIMAL.replace("input:", "inptu:"))
        assert error.what == "unknown key 'inptu'"

    def test_missing_key(self) -> None:
        error = mistake("name: kb\ninput: {}\noutputs:\n  - parquet: {uri: out/}\n")
        assert (error.where, error.what) == ("kb.yaml:2", "'input.uri' is missing")
        assert "folder" in error.hint

    def test_wrong_value_names_the_allowed_ones(self) -> None:
        error = mistake(MINIMAL + "model: {precision: fp31}\n")
        assert "'fp32', 'fp16', 'bf16' or 'int8'" in error.what
        assert "is 'fp31'" in error.what
        assert error.hint == "Did you mean 'fp32'?"

    @pytest.mark.parametrize(
        ("written", "meant"),
        [
            ("engine: nativ", "native"),
            ("engine: tourch", "torch"),
            ("engine: onxx", "onnx"),
            ("precision: f16", "fp16"),
            ("precision: int4", "int8"),
        ],
    )
    def test_the_nearest_engine_and_precision_are_named(self, written: str, meant: str) -> None:
        assert mistake(MINIMAL + f"model: {{{written}}}\n").hint == f"Did you mean '{meant}'?"

    @pytest.mark.parametrize(
        ("engine", "precision", "has"),
        [
            ("native", "fp16", "only fp32, int8"),
            ("onnx", "bf16", "only fp32, int8"),
            ("torch", "int8", "only fp32, fp16, bf16"),
        ],
    )
    def test_an_engine_without_the_precision(self, engine: str, precision: str, has: str) -> None:
        error = mistake(MINIMAL + f"model: {{engine: {engine}, precision: {precision}}}\n")
        assert error.where == "kb.yaml:6"
        assert f"engine {engine} has no precision {precision}, {has}" in error.what
        assert "auto" in error.what

    def test_auto_and_null_take_every_precision(self) -> None:
        for engine in ("auto", "'null'"):
            for precision in ("fp32", "fp16", "bf16", "int8"):
                text = f"{MINIMAL}model: {{engine: {engine}, precision: {precision}}}\n"
                assert parse_spec(text, name="kb.yaml").model.precision == precision

    def test_wrong_type_in_a_union(self) -> None:
        error = mistake(MINIMAL + "execution: {workers: many}\n")
        assert "'execution.workers' should be 'auto' or a valid integer" in error.what

    def test_a_bare_null_engine_is_explained(self) -> None:
        assert "quotes" in mistake(MINIMAL + "model: {engine: null}\n").hint

    def test_a_number_for_a_name(self) -> None:
        assert "quotes" in mistake(MINIMAL.replace("name: kb", "name: 2024")).hint

    def test_all_mistakes_come_at_once(self) -> None:
        error = mistake(MINIMAL + "chunk: {max_tokens: 2}\nmodle: {}\n")
        assert error.where == "kb.yaml"
        assert "2 mistakes" in error.what
        assert "kb.yaml:6: 'chunk.max_tokens'" in error.what
        assert "kb.yaml:7: unknown key 'modle'" in error.what

    def test_a_rule_over_two_keys(self) -> None:
        error = mistake(MINIMAL + "chunk: {max_tokens: 16, overlap_tokens: 12}\n")
        assert "half of max_tokens" in error.what

    def test_a_key_twice(self) -> None:
        error = mistake(MINIMAL + "name: other\n")
        assert (error.where, error.what) == ("kb.yaml:6", "the key 'name' is there twice")

    @pytest.mark.parametrize("text", ["- a\n", "just words\n", "3\n"])
    def test_no_mapping(self, text: str) -> None:
        assert "no mapping" in mistake(text).what

    def test_broken_yaml_names_its_line(self) -> None:
        error = mistake("name: kb\ninput: {uri: [\n")
        assert error.where.startswith("kb.yaml:")
        assert error.what.startswith("is not YAML")

    def test_a_tag_makes_no_object(self) -> None:
        error = mistake("name: !!python/object/apply:os.getcwd []\n")
        assert error.what.startswith("is not YAML")


class TestBounds:
    def test_alias_bomb(self) -> None:
        lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 30)]
        assert "aliases" in mistake("\n".join(lines)).what

    def test_an_alias_of_itself(self) -> None:
        assert "aliases" in mistake("a: &a [*a]\n").what

    def test_deep_nesting(self) -> None:
        assert mistake("a: " + "[" * 5000).where.startswith("kb.yaml")

    def test_a_large_file(self, tmp_path: Path) -> None:
        path = tmp_path / "large.yaml"
        path.write_bytes(b"#" * (MAX_SPEC_BYTES + 1))
        with pytest.raises(SpecError, match="larger than 1 MiB"):
            load_spec(path)

    def test_not_utf8(self, tmp_path: Path) -> None:
        path = tmp_path / "latin.yaml"
        path.write_bytes(b"name: kb\ninput: {uri: caf\xe9}\n")
        with pytest.raises(SpecError) as caught:
            load_spec(path)
        assert caught.value.where == f"{path}:2"

    def test_missing_and_folder(self, tmp_path: Path) -> None:
        with pytest.raises(SpecError, match="no such file"):
            load_spec(tmp_path / "none.yaml")
        with pytest.raises(SpecError, match="is a folder"):
            load_spec(tmp_path)
