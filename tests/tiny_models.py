"""Tiny sentence-transformers folders of random weights, written without torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

HIDDEN = 32
HEADS = 4
LAYERS = 2
WIDE = 64
ROWS = 66
CORPUS = (
    "the quick brown fox jumps over the lazy dog",
    "how do I read a zip file with the standard library",
    "a lighthouse keeper writes down the weather four times a day",
    "return the number of items of the list that are not none",
    "query: passage: search_document: naïve café straße",
)
Tensors = dict[str, np.ndarray[Any, Any]]


BERT_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
BERT_UNKNOWN = "[UNK]"
UNKNOWN = "<unk>"
MPNET_TOKENS = ("<s>", "<pad>", "</s>", "[UNK]", "<mask>")


def wordpiece(special: tuple[str, ...] = BERT_TOKENS) -> Tokenizer:
    """A BERT tokenizer over CORPUS; capitals are lost."""
    tokenizer = Tokenizer(models.WordPiece(unk_token=BERT_UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=200, special_tokens=list(special), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.decoder = decoders.WordPiece()
    start, end = ("[CLS]", "[SEP]") if special is BERT_TOKENS else ("<s>", "</s>")
    return _framed(tokenizer, start, end)


def byte_level() -> Tokenizer:
    """A RoBERTa tokenizer over CORPUS: bytes, and a leading space is a token's."""
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    return _framed(tokenizer, "<s>", "</s>")


def unigram() -> Tokenizer:
    """An XLM-R tokenizer over CORPUS."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=special, unk_token=UNKNOWN, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.decoder = decoders.Metaspace()
    return _framed(tokenizer, "<s>", "</s>")


def _framed(tokenizer: Tokenizer, start: str, end: str) -> Tokenizer:
    ids = [(token, tokenizer.token_to_id(token)) for token in (start, end)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", pair=f"{start} $A {end} $B {end}", special_tokens=ids
    )
    return tokenizer


class _Random:
    """Weights by name, of a size that makes attention and GELU matter."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.tensors: Tensors = {}

    def matrix(self, name: str, rows: int, columns: int) -> None:
        values = self._rng.standard_normal((rows, columns), np.float32)
        self.tensors[name] = values * np.float32(0.35)

    def linear(self, name: str, outputs: int, inputs: int) -> None:
        self.matrix(f"{name}.weight", outputs, inputs)
        self.tensors[f"{name}.bias"] = self._rng.standard_normal(outputs, np.float32) / 16

    def norm(self, name: str) -> None:
        self.tensors[f"{name}.weight"] = 1 + self._rng.standard_normal(HIDDEN, np.float32) / 4
        # Small, or all vectors would point the way of this bias.
        self.tensors[f"{name}.bias"] = self._rng.standard_normal(HIDDEN, np.float32) / 32


_BERT = (
    "encoder.layer.",
    [f"attention.self.{part}" for part in ("query", "key", "value")] + ["attention.output.dense"],
    ["attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm"],
)
_MPNET = (
    "encoder.layer.",
    [f"attention.attn.{part}" for part in "qkvo"],
    ["attention.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm"],
)
_DISTILBERT = (
    "transformer.layer.",
    [f"attention.{part}" for part in ("q_lin", "k_lin", "v_lin", "out_lin")],
    ["sa_layer_norm", "ffn.lin1", "ffn.lin2", "output_layer_norm"],
)


def _weights(family: str, vocabulary: int, seed: int) -> Tensors:
    stem, square, rest = {"mpnet": _MPNET, "distilbert": _DISTILBERT}.get(family, _BERT)
    random = _Random(seed)
    random.matrix("embeddings.word_embeddings.weight", vocabulary, HIDDEN)
    random.matrix("embeddings.position_embeddings.weight", ROWS, HIDDEN)
    if family not in ("mpnet", "distilbert"):
        types = 2 if family == "bert" else 1
        random.matrix("embeddings.token_type_embeddings.weight", types, HIDDEN)
    random.norm("embeddings.LayerNorm")
    if family == "mpnet":
        random.matrix("encoder.relative_attention_bias.weight", 32, HEADS)
    for number in range(LAYERS):
        at = f"{stem}{number}."
        for part in square:
            random.linear(at + part, HIDDEN, HIDDEN)
        random.norm(at + rest[0])
        random.linear(at + rest[1], WIDE, HIDDEN)
        random.linear(at + rest[2], HIDDEN, WIDE)
        random.norm(at + rest[3])
    return random.tensors


def _config(family: str, vocabulary: int) -> dict[str, Any]:
    if family == "distilbert":
        sizes = {"dim": HIDDEN, "n_heads": HEADS, "n_layers": LAYERS, "hidden_dim": WIDE}
        return {
            "architectures": ["DistilBertModel"],
            "model_type": "distilbert",
            "vocab_size": vocabulary,
            "max_position_embeddings": ROWS,
            "pad_token_id": 0,
            "activation": "gelu",
            **sizes,
        }
    name = {"bert": "Bert", "roberta": "Roberta", "xlm-roberta": "XLMRoberta", "mpnet": "MPNet"}
    return {
        "architectures": [f"{name[family]}Model"],
        "model_type": family,
        "vocab_size": vocabulary,
        "hidden_size": HIDDEN,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "intermediate_size": WIDE,
        "max_position_embeddings": ROWS,
        "type_vocab_size": 2 if family == "bert" else 1,
        "layer_norm_eps": 1e-12 if family == "bert" else 1e-5,
        "pad_token_id": 0 if family == "bert" else 1,
        "hidden_act": "gelu",
    }


_TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "bert": wordpiece,
    "distilbert": wordpiece,
    "roberta": byte_level,
    "xlm-roberta": unigram,
    "mpnet": partial(wordpiece, MPNET_TOKENS),
}
FAMILIES = tuple(_TOKENIZERS)


def write_model(
    folder: Path,
    family: str = "bert",
    *,
    seed: int = 7,
    pooling: str = "mean",
    dense: int | None = None,
    normalize: bool = True,
    prompts: dict[str, str] | None = None,
    default_prompt: str | None = None,
    dtype: type[np.generic] = np.float32,
    max_tokens: int = 48,
) -> Path:
    """Write a sentence-transformers folder of that family; the folder.

    dense: outputs of a Dense layer (tanh) between pooling and normalisation.
    """
    tokenizer = _TOKENIZERS[family]()
    vocabulary = tokenizer.get_vocab_size()
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    pad, unk, start, end = _specials(tokenizer)
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": 512,
            "pad_token": pad,
            "unk_token": unk,
            "cls_token": start,
            "sep_token": end,
        },
    )
    weights = _weights(family, vocabulary, seed)
    cast = {name: tensor.astype(dtype) for name, tensor in weights.items()}
    save_file(cast, folder / "model.safetensors", metadata={"format": "pt"})
    _write(folder / "config.json", _config(family, vocabulary))
    _write(
        folder / "sentence_bert_config.json",
        {"max_seq_length": max_tokens, "do_lower_case": False},
    )
    general = {"prompts": prompts or {}, "default_prompt_name": default_prompt}
    _write(folder / "config_sentence_transformers.json", general)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Tiny\n", encoding="utf-8")
    _write_modules(folder, pooling=pooling, dense=dense, normalize=normalize, seed=seed)
    return folder


def write_modernbert(folder: Path, *, layers: int, **settings: Any) -> None:
    """Put a small random ModernBERT in place of the model in a folder of write_model."""
    import torch
    from transformers import ModernBertConfig, ModernBertModel

    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    torch.manual_seed(3)
    config = ModernBertConfig(
        vocab_size=len(tokenizer["model"]["vocab"]),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=128,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        cls_token_id=2,
        sep_token_id=3,
        **settings,
    )
    ModernBertModel(config).save_pretrained(folder)


def _write_modules(
    folder: Path, *, pooling: str, dense: int | None, normalize: bool, seed: int
) -> None:
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    keys = {"mean": "mean_tokens", "cls": "cls_token", "lasttoken": "lasttoken"}
    settings = {f"pooling_mode_{key}": mode == pooling for mode, key in keys.items()}
    _write(folder / "1_Pooling/config.json", {"word_embedding_dimension": HIDDEN, **settings})
    if dense is not None:
        modules.append(("2_Dense", "Dense"))
        _write(
            folder / "2_Dense/config.json",
            {
                "in_features": HIDDEN,
                "out_features": dense,
                "bias": True,
                "activation_function": "torch.nn.modules.activation.Tanh",
            },
        )
        random = _Random(seed + 1)
        random.linear("linear", dense, HIDDEN)
        save_file(random.tensors, folder / "2_Dense/model.safetensors", metadata={"format": "pt"})
    if normalize:
        modules.append((f"{len(modules)}_Normalize", "Normalize"))
    _write(
        folder / "modules.json",
        [
            {
                "idx": number,
                "name": str(number),
                "path": path,
                "type": f"sentence_transformers.models.{kind}",
            }
            for number, (path, kind) in enumerate(modules)
        ],
    )


def _specials(tokenizer: Tokenizer) -> tuple[str, ...]:
    vocabulary = tokenizer.get_vocab()
    pairs = (("[PAD]", "<pad>"), ("[UNK]", "<unk>"), ("[CLS]", "<s>"), ("[SEP]", "</s>"))
    return tuple(next(token for token in pair if token in vocabulary) for pair in pairs)


def _write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
