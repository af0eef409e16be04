"""The packed forward alone, beside the matrix products of the same device.

Random weights of two models' shapes serve for speed: MiniLM-L6 and bge-base. A card's bound is the
rate of its 8192³ product in the same type; a forward's rate is the model's operations over the
time it took. Reading, tokenising, copying and writing are no part of it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.device import Device
from benchmarks.random_encoder import BGE_BASE, MINILM, TINY, Sizes, random_stack
from benchmarks.results import Setting, Table, median_and_range, say
from embed_job.bundle.golden import cosines
from embed_job.bundle.info import Normalize
from embed_job.engine import Tokens
from embed_job.engine.torch.attention import attention_for
from embed_job.engine.torch.compiled import compile_once
from embed_job.engine.torch.flops import model_flops
from embed_job.engine.torch.forward import PackedModel
from embed_job.engine.torch.pooling import Pooler
from embed_job.engine.torch.shapes import shape_of
from embed_job.engine.torch.stack import Stack

LEAST_COSINE = 0.9999
MEDIAN_TOKENS, SPREAD, MAX_TOKENS = 76, 0.58, 256
"""Of the corpus in docs/performance.md: median 76, 90 of 100 texts up to 160 tokens."""

Forward = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Work:
    """What is run on which device: batches of that many tokens, so often."""

    device: torch.device
    dtype: torch.dtype
    sizes: tuple[Sizes, ...]
    product: int
    texts: int
    batch_tokens: int
    repeats: int


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch on the device, in its shape, and the tokens and operations of its texts."""

    arguments: tuple[torch.Tensor, torch.Tensor, int]
    tokens: int
    flops: int


@dataclass(frozen=True, slots=True)
class Rates:
    """tokens_a_s: a repeat each. flops_a_s: the median repeat's."""

    tokens_a_s: list[float]
    flops_a_s: float


@dataclass(frozen=True, slots=True)
class Forwards:
    """product: side of the square product; product_flops_a_s: its median rate.

    rates: by sizes and way, eager or compiled. failures: vectors that are not right.
    """

    product: int
    product_flops_a_s: float
    rates: Mapping[tuple[str, str], Rates]
    failures: list[str]

    def share(self, sizes: Sizes) -> float:
        """Rate of the faster way, relative to the product's."""
        found = [rates.flops_a_s for (name, _), rates in self.rates.items() if name == sizes.name]
        return max(found) / self.product_flops_a_s

    def table(self) -> Table:
        rows = [
            (
                name,
                way,
                median_and_range(rates.tokens_a_s),
                f"{rates.flops_a_s / 1e12:.3g}",
                f"{rates.flops_a_s / self.product_flops_a_s:.2f}",
            )
            for (name, way), rates in self.rates.items()
        ]
        name = f"{self.product}³ matrix product"
        product = (name, "–", "–", f"{self.product_flops_a_s / 1e12:.3g}", "1")
        return Table(HEADERS, [product, *rows])


HEADERS = (
    "the forward pass alone, random weights",
    "way",
    "tokens/s",
    "TFLOP/s",
    "of the product's rate",
)


def measure_forwards(setting: Setting, device: Device) -> Forwards:
    """Both models' shapes on a GPU; on a CPU a tiny one, which shows only that all works."""
    at = torch.device(device.kind)
    if device.kind == "cuda":
        work = Work(
            device=at,
            dtype=torch.float16,
            sizes=(MINILM, BGE_BASE),
            product=8192,
            texts=setting.pick(ci=4_096, full=65_536),
            batch_tokens=65_536,
            repeats=setting.pick(ci=2, full=5),
        )
    else:
        work = Work(at, torch.float32, (TINY,), 256, 64, 1_024, 2)
    product_flops_a_s = statistics.median(_product_rates(work))
    rates: dict[tuple[str, str], Rates] = {}
    failures: list[str] = []
    for sizes in work.sizes:
        stack = random_stack(sizes, max_tokens=MAX_TOKENS)
        model = _model(stack, work.device, work.dtype)
        failures.extend(_differences(sizes.name, stack, model, work))
        batches = _batches(stack, work, packs=not model.pads)
        ways: dict[str, Forward] = {"eager": model}
        if work.device.type == "cuda":
            ways["compiled"] = compile_once(model)
        for way, forward in ways.items():
            say(f"forward pass alone: {sizes.name}, {way}")
            rates[sizes.name, way] = _rates(forward, batches, work)
    return Forwards(work.product, product_flops_a_s, rates, failures)


def _rates(forward: Forward, batches: list[Batch], work: Work) -> Rates:
    """The first pass, in which all compiles, is left out."""
    seconds = [_seconds(forward, batches, work.device) for _ in range(1 + work.repeats)][1:]
    tokens = sum(batch.tokens for batch in batches)
    flops = sum(batch.flops for batch in batches)
    return Rates([tokens / each for each in seconds], flops / statistics.median(seconds))


def _model(stack: Stack, device: torch.device, dtype: torch.dtype) -> PackedModel:
    pooler = Pooler("mean", (Normalize(),), [], hidden=stack.hidden, device=device)
    return PackedModel(
        stack, pooler, attention_for(stack, device, dtype), device=device, dtype=dtype
    )


def _differences(name: str, stack: Stack, model: PackedModel, work: Work) -> Iterator[str]:
    """What of the vectors is not as in fp32 on the CPU, over a few texts of all lengths."""
    lengths = np.array([1, 2, 7, 64, 65, 128, MAX_TOKENS])
    tokens = _tokens(lengths, vocabulary=len(stack.words))
    exact = _model(stack, torch.device("cpu"), torch.float32)
    with torch.inference_mode():
        expected = exact(*_placed(tokens, packs=not exact.pads, device=torch.device("cpu")))
        made = model(*_placed(tokens, packs=not model.pads, device=work.device)).cpu()
    least = float(cosines(made.numpy()[: len(lengths)], expected.numpy()[: len(lengths)]).min())
    if not least >= LEAST_COSINE:
        yield f"{name}: cosine {least:.6f} against fp32 on the CPU, at least {LEAST_COSINE}"


def _product_rates(work: Work) -> Iterator[float]:
    """Operations a second of the square product, several times."""
    shape = (work.product, work.product)
    left, right = (torch.randn(shape, device=work.device, dtype=work.dtype) for _ in range(2))
    out = torch.empty(shape, device=work.device, dtype=work.dtype)
    times = 20
    for number in range(1 + work.repeats):
        begin = _now(work.device)
        for _ in range(times):
            torch.mm(left, right, out=out)
        seconds = _now(work.device) - begin
        if number:
            yield times * 2 * work.product**3 / seconds


def _batches(stack: Stack, work: Work, *, packs: bool) -> list[Batch]:
    """Texts of random lengths, sorted and cut by the budget, on the device."""
    source = np.random.default_rng(7)
    lengths = np.exp(source.normal(np.log(MEDIAN_TOKENS), SPREAD, work.texts))
    lengths = np.sort(np.clip(lengths.astype(np.int64), 3, MAX_TOKENS))
    owners = np.cumsum(lengths) // work.batch_tokens
    found = []
    for owner in range(int(owners[-1]) + 1):
        own = lengths[owners == owner]
        tokens = _tokens(own, vocabulary=len(stack.words))
        arguments = _placed(tokens, packs=packs, device=work.device)
        found.append(Batch(arguments, int(own.sum()), model_flops(stack, own.tolist())))
    return found


def _tokens(lengths: Any, *, vocabulary: int) -> Tokens:
    ids = np.random.default_rng(3).integers(0, vocabulary, int(lengths.sum()), dtype=np.int32)
    return Tokens(ids, np.append(0, np.cumsum(lengths)))


def _placed(
    tokens: Tokens, *, packs: bool, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """A batch in the shape that the engine gives it."""
    shape = shape_of(tokens, max_tokens=MAX_TOKENS, packs=packs)
    ids = np.zeros(shape.tokens, np.int32)
    ids[: len(tokens.ids)] = tokens.ids
    ends = np.full(shape.texts + 1, len(tokens.ids), np.int32)
    ends[: len(tokens.offsets)] = tokens.offsets
    return torch.from_numpy(ids).to(device), torch.from_numpy(ends).to(device), shape.longest


def _seconds(forward: Forward, batches: list[Batch], device: torch.device) -> float:
    begin = _now(device)
    with torch.inference_mode():
        for batch in batches:
            forward(*batch.arguments)
    return _now(device) - begin


def _now(device: torch.device) -> float:
    """Seconds, when the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
