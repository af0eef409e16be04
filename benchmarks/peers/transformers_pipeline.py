"""transformers: the feature-extraction pipeline, given batches, pooled with the mask.

It neither pools nor sorts: a subclass pools each batch, as its documentation has one do, and the
texts are handed over sorted by length.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.peers.task import MAX_TOKENS, Loaded, Task, in_memory, longest_first, main


def load(task: Task) -> Loaded:
    """The pipeline, with mean pooling and normalisation in its forward step."""
    import torch
    from torch.nn.functional import normalize
    from transformers import FeatureExtractionPipeline, pipeline

    if task.device == "cpu":
        torch.set_num_threads(task.cores)

    class Embedding(FeatureExtractionPipeline):
        def _forward(self, model_inputs: Any) -> Any:
            hidden = self.model(**model_inputs).last_hidden_state.float()
            mask = model_inputs["attention_mask"].unsqueeze(-1)
            mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
            return {"vectors": normalize(mean, dim=1)}

        def postprocess(self, model_outputs: Any, **_: Any) -> Any:
            return model_outputs["vectors"][0].numpy()

    made = pipeline(
        "feature-extraction",
        model=task.model,
        device=task.device,
        dtype=torch.float16 if task.precision == "fp16" else torch.float32,
        pipeline_class=Embedding,
        tokenize_kwargs={"truncation": True, "max_length": MAX_TOKENS},
    )

    def encode(texts: list[str], batch_size: int) -> Any:
        return longest_first(lambda some: made(some, batch_size=batch_size))(texts)

    def token_ids(texts: list[str]) -> Iterator[list[int]]:
        yield from made.tokenizer(texts, truncation=True, max_length=MAX_TOKENS)["input_ids"]

    return Loaded(in_memory(encode), token_ids)


if __name__ == "__main__":
    main(__doc__ or "", variants=("torch",), packages=("transformers", "torch"), load=load)
