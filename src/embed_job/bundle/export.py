"""Other architectures: the graph by way of torch, which the extra ``gpu`` brings."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embed_job.bundle.encoder import Linear
from embed_job.bundle.files import read_tensors
from embed_job.bundle.info import Dense
from embed_job.bundle.recipe import Recipe
from embed_job.errors import BundleError


def export_graph(path: Path, recipe: Recipe, *, dense: Sequence[Linear]) -> int:
    """Write the graph of any encoder that transformers knows; the vectors' dimension.

    Inputs, output and files are those of ``graph.write_graph``; the operators are ONNX's own, so
    it is slower than a fused one. BundleError where torch is missing or can't export the model.
    """
    torch = _torch(recipe)
    import onnx

    model = _Model(recipe, dense)
    ids = torch.full((2, 8), 5, dtype=torch.int32)
    lengths = torch.tensor([8, 5], dtype=torch.int32)
    whole = path.with_suffix(".exported")
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the tracer's; what matters is proven afterwards
            torch.onnx.export(
                model.module,
                (ids, lengths),
                str(whole),
                input_names=["ids", "lengths"],
                output_names=["vectors"],
                dynamic_axes={"ids": {0: "texts", 1: "tokens"}, "lengths": {0: "texts"}},
                opset_version=18,
                dynamo=False,  # the newer exporter needs one package more
            )
    except Exception as error:
        # torch raises errors of many kinds here.
        raise BundleError(
            f"{recipe.folder}: {recipe.architecture}",
            f"torch can't export it ({str(error)[:200]})",
            "Choose a model of another architecture.",
        ) from error
    graph = onnx.load(str(whole))
    data = path.with_suffix(".onnx.data").name
    onnx.save_model(graph, str(path), save_as_external_data=True, location=data)
    whole.unlink()
    return len(model.embed([5, 5, 5]))


class _Model:
    """A model's folder in torch: encoder, pooling and head."""

    def __init__(self, recipe: Recipe, dense: Sequence[Linear]) -> None:
        torch = _torch(recipe)
        self.module = _module(torch, _encoder(torch, recipe), recipe, dense)

    def embed(self, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """The vector of one text, float32 [dimension]."""
        import torch

        row = torch.tensor([list(ids)], dtype=torch.int32)
        with torch.no_grad():
            vector = self.module(row, torch.tensor([len(ids)], dtype=torch.int32))
        result: npt.NDArray[np.float32] = vector.numpy()[0]
        return result


class TorchReference(_Model):
    """The forward pass in torch, one text at a time; loaded afresh, to compare a graph with."""

    def __init__(self, recipe: Recipe) -> None:
        dense = []
        for path in recipe.dense_weights:
            tensors = read_tensors(path)
            weight = tensors["linear.weight"]
            bias = tensors.get("linear.bias", np.zeros(len(weight), np.float32))
            dense.append(Linear(weight.T, bias))
        super().__init__(recipe, dense)


def _torch(recipe: Recipe) -> Any:
    try:
        import torch
        import transformers  # noqa: F401
    except ImportError as error:
        raise BundleError(
            f"{recipe.folder}: {recipe.architecture}",
            "an encoder of this architecture is bundled by way of torch, which is missing",
            "Install the extra: pip install 'embed-job[gpu]'. Only the bundling needs it.",
        ) from error
    return torch


def _encoder(torch: Any, recipe: Recipe) -> Any:
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        return AutoModel.from_pretrained(
            str(recipe.weights.parent),
            dtype=torch.float32,
            attn_implementation="eager",
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        ).eval()
    except Exception as error:
        # transformers raises errors of many kinds here.
        raise BundleError(
            f"{recipe.folder}: {recipe.architecture}",
            f"transformers can't load it ({str(error)[:200]})",
            "Choose a model of another architecture.",
        ) from error


def _module(torch: Any, encoder: Any, recipe: Recipe, dense: Sequence[Linear]) -> Any:
    class Embedder(torch.nn.Module):  # type: ignore[misc] # torch is loaded when it is needed
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder
            self.weights = [torch.from_numpy(linear.weight.copy()) for linear in dense]
            self.biases = [torch.from_numpy(linear.bias.copy()) for linear in dense]

        def forward(self, ids: Any, lengths: Any) -> Any:
            places = torch.arange(ids.shape[1])[None, :]
            mask = places < lengths[:, None]
            states = self.encoder(
                input_ids=ids.long(), attention_mask=mask.long()
            ).last_hidden_state
            return self.head(self.pool(states, mask, places == lengths[:, None] - 1))

        def pool(self, states: Any, mask: Any, last: Any) -> Any:
            if recipe.pooling == "cls":
                return states[:, 0]
            if recipe.pooling == "lasttoken":
                return (states * last[:, :, None]).sum(1)
            total = (states * mask[:, :, None]).sum(1)
            return total / mask.sum(1, keepdim=True).clamp(min=1)

        def head(self, value: Any) -> Any:
            layers = iter(zip(self.weights, self.biases, strict=True))
            for step in recipe.head:
                if isinstance(step, Dense):
                    weight, bias = next(layers)
                    value = value @ weight + bias
                    value = torch.tanh(value) if step.activation == "tanh" else value
                else:
                    value = torch.nn.functional.normalize(value, p=2.0, dim=-1)
            return value

    return Embedder().eval()
