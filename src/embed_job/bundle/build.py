"""A model's folder to a bundle: write the graph, prove it, and only then move it into place."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embed_job.bundle import INFO_FILE, Bundle, graph_file, open_bundle
from embed_job.bundle.contents import CONFIG_FILE, WEIGHTS_FILE, dense_file
from embed_job.bundle.encoder import Linear, is_known, read_encoder
from embed_job.bundle.fetch import Fetched, fetch
from embed_job.bundle.files import read_tensors, sha256_of
from embed_job.bundle.golden import save_golden
from embed_job.bundle.info import FORMAT, BundleInfo, Dense, Precision
from embed_job.bundle.int8 import Loss, add_int8
from embed_job.bundle.proof import Independent, make_golden, prove
from embed_job.bundle.recipe import Recipe, read_recipe
from embed_job.engine.onnx import OnnxEngine
from embed_job.errors import BundleError
from embed_job.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Built:
    """bundle, and how it was proven. checks: least cosine by implementation. loss: of int8."""

    bundle: Bundle
    made: bool
    checks: dict[str, float]
    loss: Loss | None


def build_bundle(
    source: str,
    out: Path,
    *,
    revision: str | None = None,
    precisions: Sequence[Precision] = ("fp32",),
    sample: Sequence[str] | None = None,
    independent: Mapping[str, Independent] | None = None,
) -> Built:
    """Make a bundle at out, or leave the one that is there where it is of the same source.

    out appears whole or not at all. sample: texts to measure the loss of int8 on; None: the golden
    texts. independent: implementations to compare with beside the built-in one, by name.
    BundleError where the source can't be fetched or not be reproduced exactly.
    """
    present = _present(source, out, revision=revision, precisions=precisions)
    if present is not None:
        return Built(present, made=False, checks={}, loss=None)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as name:
        work = Path(name)
        fetched = fetch(source, work, revision=revision)
        folder = work / "bundle"
        folder.mkdir()
        recipe = read_recipe(fetched.folder)
        checks = _write_fp32(folder, recipe, fetched, independent or {})
        loss = None
        if "int8" in precisions:
            bundle = open_bundle(folder, verify=False)
            loss = add_int8(bundle, sample)
            _save_info(folder, bundle.info.model_copy(update={"precisions": ("fp32", "int8")}))
        _move(folder, out, work / "old")
    return Built(open_bundle(out, verify=False), made=True, checks=checks, loss=loss)


def _present(
    source: str, out: Path, *, revision: str | None, precisions: Sequence[Precision]
) -> Bundle | None:
    """The bundle at out where it is sound and of that source; None where one is to be made.

    One of an older version, which kept no config.json, is made again: engines start from it.
    BundleError where something else is there.
    """
    if not out.exists():
        return None
    if not (out / INFO_FILE).is_file():
        if out.is_dir() and not any(out.iterdir()):
            return None
        raise BundleError(f"--out {out}", "holds something else", "Choose an empty folder.")
    try:
        bundle = open_bundle(out)
    except BundleError:
        return None
    if not _is_of(bundle, source, revision=revision):
        raise BundleError(
            f"--out {out}",
            f"holds a bundle of another model ({bundle.info.source}, "
            f"fingerprint {bundle.info.fingerprint[:12]})",
            "Remove the folder, or choose another.",
        )
    whole = CONFIG_FILE in bundle.info.files and set(precisions) <= set(bundle.info.precisions)
    return bundle if whole else None


def _is_of(bundle: Bundle, source: str, *, revision: str | None) -> bool:
    """Whether a bundle was made of that source; of a folder, as its files are now."""
    info = bundle.info
    folder = Path(source).expanduser()
    if source == "default" or not folder.is_dir():
        return source == info.source and revision in (None, info.revision)
    return folder.resolve().name == info.source and all(
        (folder / name).is_file() and sha256_of(folder / name) == digest
        for name, digest in info.source_files.items()
    )


def _write_fp32(
    folder: Path, recipe: Recipe, fetched: Fetched, independent: Mapping[str, Independent]
) -> dict[str, float]:
    """Everything of an fp32 bundle, proven against other implementations; the least cosines."""
    dimension = _write_graph(folder / graph_file("fp32"), recipe)
    _copy_sources(folder, recipe)
    info = _info(recipe, fetched, dimension)
    bundle = Bundle(folder, info)
    engine = OnnxEngine(bundle, precision="fp32", threads=1)
    tokenizer = Tokenizer(bundle)
    golden = make_golden(bundle, engine, tokenizer)
    checks = prove(recipe, golden, tokenizer, independent=independent)
    save_golden(folder, "fp32", golden)
    _save_info(folder, info)
    return checks


def _copy_sources(folder: Path, recipe: Recipe) -> None:
    """What engines start from that run no graph: contents.recipe_of reads it again."""
    shutil.copyfile(recipe.weights.parent / "config.json", folder / CONFIG_FILE)
    shutil.copyfile(recipe.weights, folder / WEIGHTS_FILE)
    shutil.copyfile(recipe.tokenizer, folder / "tokenizer.json")
    for number, path in enumerate(recipe.dense_weights):
        shutil.copyfile(path, folder / dense_file(number))


def _write_graph(path: Path, recipe: Recipe) -> int:
    if is_known(recipe.architecture):
        from embed_job.bundle.graph import write_graph

        return write_graph(
            path,
            read_encoder(recipe),
            pooling=recipe.pooling,
            head=recipe.head,
            dense=_dense(recipe),
        )
    from embed_job.bundle.export import export_graph

    return export_graph(path, recipe, dense=_dense(recipe))


def _dense(recipe: Recipe) -> list[Linear]:
    steps = [step for step in recipe.head if isinstance(step, Dense)]
    found = []
    for step, path in zip(steps, recipe.dense_weights, strict=True):
        tensors = read_tensors(path)
        weight = tensors.get("linear.weight")
        bias = tensors.get("linear.bias") if step.bias else np.zeros(step.outputs, np.float32)
        if (
            weight is None
            or bias is None
            or weight.shape != (step.outputs, step.inputs)
            or bias.shape != (step.outputs,)
        ):
            raise BundleError(str(path), "does not fit its config.json", "Fetch the model again.")
        found.append(Linear(weight.T.copy(), bias))
    return found


def _info(recipe: Recipe, fetched: Fetched, dimension: int) -> BundleInfo:
    return BundleInfo(
        format=FORMAT,
        source=fetched.source,
        revision=fetched.revision,
        licence=fetched.licence or recipe.licence,
        architecture=recipe.architecture,
        dimension=dimension,
        max_tokens=recipe.max_tokens,
        pad_token_id=recipe.pad_token_id,
        pooling=recipe.pooling,
        head=recipe.head,
        prompts=recipe.prompts,
        default_prompt=recipe.default_prompt,
        similarity=recipe.similarity,
        precisions=("fp32",),
        fingerprint=recipe.fingerprint(),
        source_files=recipe.files,
        files={},
    )


def _save_info(folder: Path, info: BundleInfo) -> None:
    """Write bundle.json over all files that are there now."""
    files = {
        path.name: sha256_of(path) for path in sorted(folder.iterdir()) if path.name != INFO_FILE
    }
    content = info.model_copy(update={"files": files}).model_dump_json(indent=2)
    (folder / INFO_FILE).write_text(content + "\n", encoding="utf-8")


def _move(folder: Path, out: Path, old: Path) -> None:
    folder.chmod(0o755)
    if out.exists():
        out.rename(old)
    folder.rename(out)
