"""A model's checkpoint as a stack; None for what the packed forward does not know."""

from __future__ import annotations

from embed_job.bundle.encoder import Encoder, Linear, Norm, is_known, read_encoder
from embed_job.bundle.recipe import Recipe
from embed_job.engine.torch.rotary_weights import read_rotary
from embed_job.engine.torch.stack import Affine, Block, Scale, Stack


def read_stack(recipe: Recipe) -> Stack | None:
    """The encoder of a model, or None where its architecture or a setting of it is not known
    exactly.

    Known are bert, roberta, xlm-roberta, camembert, mpnet, distilbert, and of those with rotary
    positions modernbert, nomic_bert and gte. BundleError where the checkpoint lacks something.
    """
    if is_known(recipe.architecture):
        return stack_of(read_encoder(recipe), max_tokens=recipe.max_tokens)
    return read_rotary(recipe)


def stack_of(encoder: Encoder, *, max_tokens: int) -> Stack:
    """A post-norm encoder as a stack."""
    blocks = tuple(
        Block(
            qkv=_affine(layer.qkv),
            out=_affine(layer.attention),
            attention_norm=_scale(layer.attention_norm),
            up=_affine(layer.up),
            down=_affine(layer.down),
            output_norm=_scale(layer.output_norm),
        )
        for layer in encoder.layers
    )
    return Stack(
        words=encoder.words,
        positions=encoder.positions,
        norm=_scale(encoder.norm),
        blocks=blocks,
        heads=encoder.heads,
        epsilon=encoder.epsilon,
        activation=encoder.activation,
        max_tokens=max_tokens,
        positions_pad=encoder.positions_pad,
        relative_bias=encoder.relative_bias,
    )


def _affine(linear: Linear) -> Affine:
    return Affine(linear.weight.T, linear.bias)


def _scale(norm: Norm) -> Scale:
    return Scale(norm.gamma, norm.beta)
