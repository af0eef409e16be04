"""A bundle to a model on a device."""

from __future__ import annotations

import torch

from embed_job.bundle import Bundle
from embed_job.bundle.contents import recipe_of
from embed_job.bundle.files import read_tensors
from embed_job.bundle.info import Dense
from embed_job.bundle.recipe import Recipe
from embed_job.engine.torch.attention import attention_for
from embed_job.engine.torch.forward import PackedModel
from embed_job.engine.torch.padded import PaddedModel, load_encoder
from embed_job.engine.torch.pooling import Pooler
from embed_job.engine.torch.stack import Affine
from embed_job.engine.torch.weights import read_stack
from embed_job.errors import BundleError, SpecError

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_BF16_CAPABILITY = (8, 0)


def load_model(
    bundle: Bundle, *, precision: str, device: torch.device
) -> PackedModel | PaddedModel:
    """A bundle's model on a device, with weights and activations of that precision.

    Known architectures are packed; others go through transformers. SpecError where the device or
    the engine lacks the precision, BundleError where the bundle is damaged or can't be run.
    """
    recipe = recipe_of(bundle)
    if not recipe.weights.is_file():
        raise BundleError(
            str(bundle.path),
            f"has no {recipe.weights.name}: it was slimmed for machines without torch",
            "Use the whole bundle, or set model.engine: native.",
        )
    return model_of(recipe, precision=precision, device=device)


def model_of(recipe: Recipe, *, precision: str, device: torch.device) -> PackedModel | PaddedModel:
    """As load_model, of a recipe."""
    dtype = _dtype(precision, device)
    stack = read_stack(recipe)
    if stack is None:
        encoder = load_encoder(recipe, device=device, dtype=dtype)
        pooler = _pooler(recipe, hidden=encoder.config.hidden_size, device=device)
        return PaddedModel(encoder, pooler, pad_token_id=recipe.pad_token_id)
    attend = attention_for(stack, device, dtype)
    pooler = _pooler(recipe, hidden=stack.hidden, device=device)
    return PackedModel(stack, pooler, attend, device=device, dtype=dtype)


def _pooler(recipe: Recipe, *, hidden: int, device: torch.device) -> Pooler:
    return Pooler(recipe.pooling, recipe.head, _dense(recipe), hidden=hidden, device=device)


def _dtype(precision: str, device: torch.device) -> torch.dtype:
    if precision not in DTYPES:
        raise SpecError(
            "model.precision",
            f"the torch engine does not compute in {precision}",
            "Choose fp16, bf16 or fp32; or another engine.",
        )
    if precision == "bf16" and device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability < _BF16_CAPABILITY:
            raise SpecError(
                "model.precision",
                f"{torch.cuda.get_device_name(device)} does not compute in bf16",
                "Choose fp16.",
            )
    return DTYPES[precision]


def _dense(recipe: Recipe) -> list[Affine]:
    steps = [step for step in recipe.head if isinstance(step, Dense)]
    found = []
    for step, path in zip(steps, recipe.dense_weights, strict=True):
        tensors = read_tensors(path)
        weight = tensors.get("linear.weight")
        bias = tensors.get("linear.bias") if step.bias else None
        if (
            weight is None
            or weight.shape != (step.outputs, step.inputs)
            or (step.bias and (bias is None or bias.shape != (step.outputs,)))
        ):
            raise BundleError(str(path), "does not fit bundle.json", "Make the bundle again.")
        found.append(Affine(weight, bias))
    return found
