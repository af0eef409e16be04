"""Any other architecture: the encoder of transformers, over texts as padded rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from embed_job.bundle.recipe import Recipe
from embed_job.engine.torch.attention import layout_of, padded_rows
from embed_job.engine.torch.pooling import Pooler
from embed_job.errors import BundleError


class PaddedModel(torch.nn.Module):
    """An encoder of transformers behind the interface of PackedModel."""

    pads = True
    capturable = False
    """What a model of transformers does inside is not known."""

    def __init__(self, encoder: Any, pooler: Pooler, *, pad_token_id: int) -> None:
        super().__init__()
        self.dimension = pooler.dimension
        self._pad_token_id = pad_token_id
        self.encoder, self.pooler = encoder, pooler
        self.eval()

    def forward(self, ids: Tensor, cu_seqlens: Tensor, max_length: int) -> Tensor:
        """As PackedModel.forward; the texts are padded on the right to max_length."""
        layout = layout_of(cu_seqlens, tokens=len(ids), max_length=max_length)
        places = torch.arange(max_length, device=ids.device)
        mask = places < layout.lengths[:, None]
        rows = padded_rows(layout, tokens=len(ids))
        padded = torch.where(mask, ids[rows].long(), self._pad_token_id)
        # A row without tokens sees one, so that it holds no NaN.
        mask = places < layout.lengths.clamp(min=1)[:, None]
        found = self.encoder(input_ids=padded, attention_mask=mask.long())
        states = found.last_hidden_state[layout.segments, layout.positions]
        chosen = self.pooler.chosen(layout, tokens=len(ids))
        vectors: Tensor = self.pooler(states if chosen is None else states[chosen], layout)
        return vectors


def load_encoder(recipe: Recipe, *, device: torch.device, dtype: torch.dtype) -> Any:
    """The encoder by transformers: safetensors only, and none of the model's own code.

    BundleError where transformers is missing or does not know the architecture.
    """
    where = f"{recipe.folder}: {recipe.architecture}"
    try:
        from transformers import AutoModel
        from transformers.utils import logging
    except ImportError as error:
        raise BundleError(
            where,
            "an encoder of this architecture needs transformers, which is missing",
            "Install the extra: pip install 'embed-job[gpu]'; or set model.engine: onnx.",
        ) from error
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        encoder = AutoModel.from_pretrained(
            str(recipe.weights.parent),
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except Exception as error:
        # transformers raises errors of many kinds here.
        raise BundleError(
            where,
            f"transformers can't load it ({str(error)[:200]})",
            "Set model.engine: onnx, or choose a model of another architecture.",
        ) from error
    if getattr(encoder.config, "use_cache", False):
        # A decoder would keep the keys and values of all layers for a next token.
        encoder.config.use_cache = False
    return encoder.eval().requires_grad_(False).to(device)
