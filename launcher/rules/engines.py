"""The model's engine and precision against the machines and the image that are to run it."""

from __future__ import annotations

from collections.abc import Iterator

from embed_job.spec import HALF, ModelSpec
from embed_job.spec.compute import ComputeSpec
from launcher.aws.images import ECR_IMAGE, target_of
from launcher.planning.instances import NO_BF16_GPUS, TOO_OLD_GPUS, Instance
from launcher.rules.problems import Problem, error, warning

CPU_TYPE, GPU_TYPE = "ml.c7i.4xlarge", "ml.g5.xlarge"


def engine_on(
    model: ModelSpec, compute: ComputeSpec, found: Instance, where: str
) -> Iterator[Problem]:
    """Every rule about one type of machine, named at where; none of a type that is not known."""
    if found.gpu is None:
        return
    if not found.gpu:
        yield from _on_cpu(model, compute, found, where)
    elif uses_gpu(model):
        yield from _on_gpu(model, compute, found, where)
    else:
        key = "precision" if model.engine == "auto" else "engine"
        what = f"{found.name} has a GPU, which {key} {getattr(model, key)} does not use"
        hint = f"Take a CPU type such as {CPU_TYPE}: it costs less. For the GPU, set model.engine: "
        yield warning(where, what, f"{hint}auto and model.precision: fp16.")


def uses_gpu(model: ModelSpec) -> bool:
    """Whether the engine that a spec means runs on a GPU where there is one."""
    return model.engine == "torch" or (model.engine == "auto" and model.precision != "int8")


def _on_cpu(
    model: ModelSpec, compute: ComputeSpec, found: Instance, where: str
) -> Iterator[Problem]:
    if model.engine == "torch":
        what = f"{found.name} has no GPU, which engine torch is for"
        hint = f"Leave model.engine out, or take a GPU type such as {GPU_TYPE}."
        yield error(where, what, hint)
    elif model.engine == "auto" and model.precision in HALF:
        what = f"no engine has {model.precision} without a GPU, and {found.name} has none"
        hint = f"Set fp32 or int8, or take a GPU type such as {GPU_TYPE}."
        yield error("model.precision", what, hint)
    if _image_is(compute, "gpu"):
        what = f"is a GPU image by its tag, and {found.name} has no GPU"
        hint = "It works, but is pulled for longer: `make image` builds the CPU one."
        yield warning("compute.image_uri", what, hint)


def _on_gpu(
    model: ModelSpec, compute: ComputeSpec, found: Instance, where: str
) -> Iterator[Problem]:
    if found.family in TOO_OLD_GPUS:
        what = f"{found.name}'s GPU is older than the image's CUDA libraries can use"
        yield error(where, what, f"Take {GPU_TYPE}, or another g4dn, g5, g6 or p5 type.")
    if _image_is(compute, "cpu"):
        what = f"is a CPU image by its tag, and {found.name}'s GPU would stand idle"
        hint = "`make image TARGET=gpu`, then `make push TAG=embed-job:gpu`, prints another."
        yield error("compute.image_uri", what, hint)
    if model.precision == "fp32":
        what = f"fp32 leaves the tensor cores of {found.name} idle, which are for fp16"
        hint = (
            "Set fp16: each worker first shows a cosine of 0.9999 to fp32. It is part of the "
            "fingerprint, so decide before the first run."
        )
        yield warning("model.precision", what, hint)
    if model.precision == "bf16" and found.family in NO_BF16_GPUS:
        what = f"{found.name}'s GPU does not compute in bf16"
        yield error("model.precision", what, "Set fp16, which is closer to fp32 besides.")


def _image_is(compute: ComputeSpec, target: str) -> bool:
    """Whether the image's tag says so; a digest alone says nothing, and doctor asks ECR."""
    found = ECR_IMAGE.fullmatch(compute.image_uri or "")
    return found is not None and target_of([found["tag"] or ""]) == target
