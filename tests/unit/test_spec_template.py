"""What `init` writes is generated from the spec, loads back, and is explained throughout."""

import re
from pathlib import Path

import orjson

from embed_job.spec import JobSpec
from embed_job.spec.file import parse_spec
from embed_job.spec.mistakes import section_fields
from embed_job.spec.opensearch import OpenSearchOutput
from embed_job.spec.section import Section
from embed_job.spec.template import is_our_schema, render_schema, render_spec


def test_the_committed_schema_is_up_to_date() -> None:
    # Mend it with: embed-job init --schema jobs/schema.json --force
    assert Path("jobs/schema.json").read_bytes() == render_schema()


def test_the_schema_takes_the_short_forms_of_lists() -> None:
    fields = orjson.loads(render_schema())["$defs"]["Fields"]["properties"]
    assert {"type": "string"} in fields["text"]["anyOf"]
    assert {"array", "object"} == {form["type"] for form in fields["metadata"]["anyOf"]}


def test_it_loads_with_every_default() -> None:
    spec = parse_spec(render_spec("schema.json"), name="init")
    written = {"name": spec.name, "input": {"uri": spec.input.uri}}
    written["outputs"] = [{"parquet": {"uri": spec.parquet.uri}}]
    plain = JobSpec.model_validate({**written, "model": {"bundle": spec.model.bundle}})
    assert spec == plain


def uncommented(text: str, first: str) -> str:
    """The spec with one commented block in force: that which begins with a line."""
    head, begin, rest = text.partition(f"# {first}\n")
    assert begin, first
    indent = len(head) - len(head.rstrip(" "))
    block, after = [], rest.splitlines()
    while after and after[0].startswith(" " * indent + "# "):
        block.append(after.pop(0).replace("# ", "", 1))
    return "\n".join([head + first, *block, *after]) + "\n"


def test_each_thing_that_is_commented_out_loads_too() -> None:
    text = render_spec()
    job = parse_spec(uncommented(text, "compute:"), name="init")
    assert job.compute is not None
    assert job.opensearch is None
    job = parse_spec(uncommented(text, "- opensearch:"), name="init")
    assert job.opensearch is not None
    assert job.opensearch.alias == "my-corpus"
    assert job.compute is None


def test_all_that_is_commented_out_loads_at_once() -> None:
    text = uncommented(uncommented(render_spec(), "- opensearch:"), "compute:")
    job = parse_spec(text, name="init")
    assert job.opensearch is not None
    assert job.compute is not None
    plain = {"url": job.opensearch.url, "alias": job.opensearch.alias}
    assert job.opensearch == OpenSearchOutput.model_validate(plain)


def test_every_key_is_there_and_described() -> None:
    text = render_spec()

    def check(section: type[Section]) -> None:
        for name, below in section_fields(section).items():
            assert re.search(rf"^[# -]*{name}:", text, flags=re.MULTILINE), name
            if below is None:
                assert section.model_fields[name].description, name
            else:
                assert below.__doc__, name
                check(below)

    check(JobSpec)


def test_the_schema_line_comes_first() -> None:
    assert render_spec("a/b.json").startswith("# yaml-language-server: $schema=a/b.json\n")


def test_only_our_schema_is_ours(tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    assert not is_our_schema(path)
    path.write_bytes(b"[]")
    assert not is_our_schema(path)
    path.write_bytes(render_schema())
    assert is_our_schema(path)


def test_the_documentation_shows_it_as_it_is() -> None:
    assert f"```yaml\n{render_spec()}```" in Path("docs/spec.md").read_text()
