"""modules.json and what it names: pooling, dense layers, normalisation.

Whatever would change a vector and is not known here is refused by file and key.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embed_job.bundle.files import check_type, read_json, read_object, sha256_of
from embed_job.bundle.info import Dense, HeadStep, Normalize, Pooling
from embed_job.errors import BundleError

_CHOOSE = "Choose a model that this version can reproduce exactly."
_POOLING_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
_ACTIVATIONS = {
    "torch.nn.modules.linear.Identity": "identity",
    "torch.nn.modules.activation.Tanh": "tanh",
}


@dataclass(frozen=True, slots=True)
class Modules:
    """The modules of a sentence-transformers folder.

    transformer: the folder of the encoder. dense_weights: one safetensors file for each Dense of
    head, in order. files: every file that was read, below the model's folder.
    """

    transformer: Path
    pooling: Pooling
    head: tuple[HeadStep, ...]
    dense_weights: tuple[Path, ...]
    files: tuple[Path, ...]


def read_modules(folder: Path) -> Modules:
    """The modules of a folder; without modules.json: mean pooling, as sentence-transformers does.

    BundleError names file and key of what can't be reproduced.
    """
    index = folder / "modules.json"
    if not index.exists():
        return Modules(folder, "mean", (), (), ())
    steps = [(kind, _inside(folder, path, index)) for kind, path in _entries(index)]
    if [kind for kind, _ in steps[:2]] != ["Transformer", "Pooling"]:
        raise BundleError(
            str(index), "does not begin with a Transformer and a Pooling module", _CHOOSE
        )
    pooling_file = steps[1][1] / "config.json"
    files = [index, pooling_file]
    head: list[HeadStep] = []
    weights: list[Path] = []
    for kind, path in steps[2:]:
        if kind == "Normalize":
            _check_normalize(path)
            head.append(Normalize())
        elif kind == "Dense":
            dense, file = _read_dense(path)
            head.append(dense)
            weights.append(file)
            files += [path / "config.json", file]
        elif kind != "Dropout":  # which does nothing at inference
            raise BundleError(f"{index}: type", f"the module {kind} is not known", _CHOOSE)
    pooling = _read_pooling(pooling_file)
    return Modules(steps[0][1], pooling, tuple(head), tuple(weights), tuple(files))


def _entries(index: Path) -> list[tuple[str, str]]:
    entries = read_json(index)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BundleError(str(index), "is not a list of modules", "Fetch the model again.")
    found = []
    for entry in entries:
        kind, path = entry.get("type"), entry.get("path")
        if not isinstance(kind, str) or not isinstance(path, str):
            raise BundleError(str(index), "a module lacks type or path", "Fetch the model again.")
        if not kind.startswith("sentence_transformers."):
            raise BundleError(f"{index}: type", f"{kind} is code of the model's own", _CHOOSE)
        found.append((kind.rpartition(".")[2], path))
    return found


def _inside(folder: Path, name: str, index: Path) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BundleError(f"{index}: path", f"{name} leads out of the folder", "Don't use it.")
    return path


def _read_pooling(path: Path) -> Pooling:
    config = read_object(path)
    if config.get("include_prompt", True) is not True:
        raise BundleError(f"{path}: include_prompt", "false is not supported", _CHOOSE)
    modes = config.get("pooling_mode")
    if modes is None:
        modes = [mode for key, mode in _POOLING_KEYS.items() if config.get(key)] or ["mean"]
    elif isinstance(modes, str):
        modes = [modes]
    unknown = [key for key in config if key.startswith("pooling_mode_")]
    unknown = [key for key in unknown if key not in _POOLING_KEYS and config[key]]
    if modes in (["mean"], ["cls"], ["lasttoken"]) and not unknown:
        pooling: Pooling = modes[0]
        return pooling
    what = unknown[0] if unknown else "+".join(map(str, modes))
    raise BundleError(
        f"{path}: pooling_mode", f"{what} is not supported (mean, cls, lasttoken are)", _CHOOSE
    )


def _check_normalize(path: Path) -> None:
    config = read_object(path / "config.json", optional=True)
    _check_names(path / "config.json", config)


def _check_names(path: Path, config: dict[str, Any]) -> None:
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in (None, "sentence_embedding"):
            raise BundleError(f"{path}: {key}", f"{config[key]} is not supported", _CHOOSE)


def _read_dense(path: Path) -> tuple[Dense, Path]:
    file = path / "config.json"
    config = read_object(file)
    _check_names(file, config)
    check_type(file, config, "in_features", int)
    check_type(file, config, "out_features", int)
    activation = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    if activation not in _ACTIVATIONS:
        raise BundleError(f"{file}: activation_function", f"{activation} is not supported", _CHOOSE)
    if config.get("use_residual"):
        raise BundleError(f"{file}: use_residual", "true is not supported", _CHOOSE)
    weights = path / "model.safetensors"
    if not weights.is_file():
        raise BundleError(
            str(path),
            "has no model.safetensors (a pickle is never read)",
            "Save the model again with a current sentence-transformers, or take another revision.",
        )
    try:
        inputs, outputs = config["in_features"], config["out_features"]
    except KeyError as error:
        raise BundleError(
            f"{file}: {error.args[0]}", "is missing", "Fetch the model again."
        ) from error
    dense = Dense(
        inputs=inputs,
        outputs=outputs,
        bias=bool(config.get("bias", True)),
        activation=_ACTIVATIONS[activation],
        weights=sha256_of(weights),
    )
    return dense, weights
