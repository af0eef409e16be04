"""A sentence-transformers folder, read: everything that decides over a vector, weights apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embed_job.bundle.files import read_object, read_text, sha256_of
from embed_job.bundle.info import HeadStep, Pooling, fingerprint_of
from embed_job.bundle.modules import read_modules
from embed_job.errors import BundleError

_CHOOSE = "Choose a model that this version can reproduce exactly."
_NO_LIMIT = 10**9
"""Hugging Face writes 10**30 where a tokenizer has no limit."""
_COUNTS_FROM_PAD = frozenset(["roberta", "xlm-roberta", "camembert", "mpnet"])
_HARMLESS = frozenset(["max_seq_length", "do_lower_case", "unpad_inputs", "model_name_or_path"])
_EXPECTED: dict[str, tuple[Any, ...]] = {
    "transformer_task": ("feature-extraction",),
    "module_output_name": ("token_embeddings",),
    "modality_config": (
        {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    ),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How vectors are made from a model's folder.

    config is the transformer's config.json. files: sha256 of every file that was used, by its
    name below the folder.
    """

    folder: Path
    config: dict[str, Any]
    weights: Path
    tokenizer: Path
    pooling: Pooling
    head: tuple[HeadStep, ...]
    dense_weights: tuple[Path, ...]
    prompts: dict[str, str]
    default_prompt: str | None
    similarity: str
    max_tokens: int
    pad_token_id: int
    licence: str | None
    files: dict[str, str]

    @property
    def architecture(self) -> str:
        return str(self.config["model_type"])

    def fingerprint(self) -> str:
        """sha256 over what decides over a vector of the fp32 graph, in hex."""
        return fingerprint_of(
            {
                "weights": self.files[_name(self.folder, self.weights)],
                "config": self.files[_name(self.folder, self.weights.parent / "config.json")],
                "tokenizer": self.files[_name(self.folder, self.tokenizer)],
                "pooling": self.pooling,
                "head": [step.model_dump() for step in self.head],
                "prompts": self.prompts,
                "default_prompt": self.default_prompt,
                "max_tokens": self.max_tokens,
            }
        )


def read_recipe(folder: Path) -> Recipe:
    """Read a folder; BundleError names file and key of what can't be reproduced exactly."""
    modules = read_modules(folder)
    home = modules.transformer
    config = read_object(home / "config.json")
    _check_config(home / "config.json", config)
    tokenizer, tokenizer_config = _read_tokenizer(home)
    settings_file = home / "sentence_bert_config.json"
    settings = read_object(settings_file, optional=True)
    _check_settings(settings_file, settings, tokenizer)
    weights = _weights(home)
    general_file = folder / "config_sentence_transformers.json"
    general = read_object(general_file, optional=True)
    used = [*modules.files, home / "config.json", tokenizer, weights]
    optional = [settings_file, general_file, home / "tokenizer_config.json"]
    used += [path for path in optional if path.exists()]
    prompts, default_prompt = _prompts(general_file, general)
    pad_token_id = config.get("pad_token_id")
    return Recipe(
        folder=folder,
        config=config,
        weights=weights,
        tokenizer=tokenizer,
        pooling=modules.pooling,
        head=modules.head,
        dense_weights=modules.dense_weights,
        prompts=prompts,
        default_prompt=default_prompt,
        similarity=str(general.get("similarity_fn_name") or "cosine"),
        max_tokens=_max_tokens(settings_file, settings, config, tokenizer_config),
        pad_token_id=pad_token_id if isinstance(pad_token_id, int) else 0,
        licence=_licence(folder / "README.md"),
        files={_name(folder, path): sha256_of(path) for path in used},
    )


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _check_config(path: Path, config: dict[str, Any]) -> None:
    if not isinstance(config.get("model_type"), str):
        raise BundleError(f"{path}: model_type", "is missing", "Is this a transformers model?")
    if "auto_map" in config:
        raise BundleError(
            f"{path}: auto_map",
            "the model brings code of its own, which is never run",
            "Choose a model whose architecture is part of transformers.",
        )
    if config.get("quantization_config"):
        raise BundleError(f"{path}: quantization_config", "is not supported", _CHOOSE)
    if config.get("is_decoder"):
        raise BundleError(f"{path}: is_decoder", "true is not supported", _CHOOSE)


def _check_settings(path: Path, settings: dict[str, Any], tokenizer: Path) -> None:
    """sentence_bert_config.json: nothing but the length may change what is computed."""
    for key, value in settings.items():
        if key in _HARMLESS or not value or value in _EXPECTED.get(key, ()):
            continue
        raise BundleError(f"{path}: {key}", f"{str(value)[:100]} is not supported", _CHOOSE)
    if settings.get("do_lower_case") and not _lowercases(read_object(tokenizer)):
        raise BundleError(
            f"{path}: do_lower_case",
            "is true, but the tokenizer keeps capitals",
            "Set one of the two right; the model card says which.",
        )


def _read_tokenizer(home: Path) -> tuple[Path, dict[str, Any]]:
    path = home / "tokenizer.json"
    if not path.is_file():
        raise BundleError(
            str(path),
            "is missing",
            "Make it with transformers: AutoTokenizer.from_pretrained(MODEL).save_pretrained(DIR).",
        )
    file = home / "tokenizer_config.json"
    config = read_object(file, optional=True)
    if "auto_map" in config:
        raise BundleError(f"{file}: auto_map", "code of the model's own is never run", _CHOOSE)
    for key in ("truncation_side", "padding_side"):
        if config.get(key, "right") != "right":
            raise BundleError(f"{file}: {key}", f"{config[key]} is not supported", _CHOOSE)
    lower = config.get("do_lower_case")
    model = read_object(path)
    if isinstance(lower, bool) and lower != _lowercases(model) and _is_bert(model):
        raise BundleError(
            f"{file}: do_lower_case",
            f"is {str(lower).lower()}, but {path.name} does otherwise",
            "Set one of the two right; the model card says which.",
        )
    return path, config


def _normalizers(tokenizer: dict[str, Any]) -> list[dict[str, Any]]:
    normalizer = tokenizer.get("normalizer") or {}
    inner = normalizer.get("normalizers")
    return inner if isinstance(inner, list) else [normalizer]


def _is_bert(tokenizer: dict[str, Any]) -> bool:
    return any(step.get("type") == "BertNormalizer" for step in _normalizers(tokenizer))


def _lowercases(tokenizer: dict[str, Any]) -> bool:
    return any(
        step.get("type") == "Lowercase" or step.get("lowercase") is True
        for step in _normalizers(tokenizer)
    )


def _max_tokens(
    path: Path,
    settings: dict[str, Any],
    config: dict[str, Any],
    tokenizer_config: dict[str, Any],
) -> int:
    """The shortest of: what the settings say, what the tokenizer says, rows of position table."""
    asked = settings.get("max_seq_length") or tokenizer_config.get("model_max_length") or _NO_LIMIT
    rows = config.get("max_position_embeddings") or _NO_LIMIT
    if config["model_type"] in _COUNTS_FROM_PAD:
        rows -= int(config.get("pad_token_id", 1)) + 1
    limit = min(int(asked), int(rows))
    if not 3 <= limit < _NO_LIMIT:
        raise BundleError(
            f"{path}: max_seq_length", "is missing or too small", "Say how long a text may be."
        )
    return limit


def _weights(home: Path) -> Path:
    path = home / "model.safetensors"
    if path.is_file():
        return path
    if (home / "model.safetensors.index.json").exists():
        raise BundleError(
            str(home), "holds weights in several files", "Save them again as one model.safetensors."
        )
    if any(home.glob("*.bin")) or any(home.glob("*.pt")):
        raise BundleError(
            str(home),
            "holds its weights as a pickle only, which is never read",
            "Choose a revision with model.safetensors, or save the model again with "
            "save_pretrained(safe_serialization=True).",
        )
    raise BundleError(str(path), "is missing", "Fetch the model again.")


def _prompts(path: Path, general: dict[str, Any]) -> tuple[dict[str, str], str | None]:
    prompts = general.get("prompts") or {}
    default = general.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(
        isinstance(text, str) for pair in prompts.items() for text in pair
    ):
        raise BundleError(f"{path}: prompts", "is not a mapping of names to texts", _CHOOSE)
    if default is not None and default not in prompts:
        raise BundleError(
            f"{path}: default_prompt_name", f"{default!r} is none of prompts", "Add or remove it."
        )
    return prompts, default


def _licence(readme: Path) -> str | None:
    """The licence of a model card's front matter, if it names one."""
    if not readme.is_file() or readme.stat().st_size > 2**22:
        return None
    match = re.match(r"---\n(.*?)\n---", read_text(readme), re.DOTALL)
    line = match and re.search(r"^license:[ \t]*['\"]?([\w.+-]{1,60})", match[1], re.MULTILINE)
    return line[1] if line else None
