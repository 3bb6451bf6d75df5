"""Exports to torch: adapters for ``peft``, encoders for ``transformers``.

Names and layouts come from the encoder's key table, so ``convert.to_ours`` can read
every export. Adapters are nested dictionaries as from ``lora.init``, with paths that
begin inside the encoder's ``params``.
"""

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util
from safetensors.numpy import save_file

from mldg_jax import lora
from mldg_jax.common import text_files
from mldg_jax.common.errors import UserError
from mldg_jax.common.files import replacing
from mldg_jax.models.pretrained import convert, torch_files
from mldg_jax.models.pretrained.convert import Table

PEFT_CONFIG, PEFT_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PEFT_FACTOR = re.compile(r"(?:base_model\.model\.)?(.+)\.lora_([AB])\.weight")

# Settings of peft that change what an adapter computes, each with the values that do
# not, in addition to false, null and empty ones.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    # other initialisations change the base model's weights too
    "init_lora_weights": (True, "gaussian"),
    **dict.fromkeys(
        [
            "fan_in_fan_out",
            "use_dora",
            "lora_bias",
            "use_qalora",
            "rank_pattern",
            "alpha_pattern",
            "modules_to_save",
            "layer_replication",
            "trainable_token_indices",
            "target_parameters",
        ],
        (),
    ),
}


def peft(
    adapters: Mapping[str, Any],
    table: Table,
    *,
    rank: int,
    alpha: float,
    base_model: str,
    folder: str | Path,
    use_rslora: bool = False,
    prefix: str = "",
    modules: Mapping[str, Mapping[str, np.ndarray]] | None = None,
) -> None:
    """Writes adapters that ``peft.PeftModel.from_pretrained(model, folder)`` loads.

    Args:
      adapters: leaves ``…/lora_a`` (in, rank) and ``…/lora_b`` (rank, out).
      table: names of the torch model, e.g. ``key_tables.WAV2VEC2_HF``.
      rank: rank of every adapter.
      alpha: peft multiplies ``B @ A`` by alpha / rank.
      base_model: hub name or folder of the torch model, recorded in the config.
      folder: receives ``adapter_model.safetensors`` and, last, ``adapter_config.json``.
      use_rslora: whether peft multiplies by alpha / √rank instead.
      prefix: where the encoder is in the torch model, such as "encoder." for the whole
        ``WhisperModel``. Without it peft finds nothing there and changes nothing.
      modules: modules that were trained without adapters (peft's ``modules_to_save``):
        their torch state dicts by the names of the modules, such as "head".

    Raises:
      ValueError: there are no adapters, or one has no name in the table, lacks a factor
        or has another rank.
    """
    a, b = (
        {
            f"{prefix}{module}": x
            for module, x in _factors(adapters, table, leaf).items()
        }
        for leaf in (lora.A, lora.B)
    )
    if incomplete := sorted(a.keys() ^ b.keys()):
        raise ValueError(f"adapters without both factors: {incomplete}")
    if not a:
        raise ValueError("there are no adapters to write")
    state = {}
    for module in a:
        ranks = a[module].shape[0], b[module].shape[1]  # (rank, in), (out, rank)
        if ranks != (rank, rank):
            raise ValueError(f"{module} has rank {ranks}, expected {rank}")
        state[f"base_model.model.{module}.lora_A.weight"] = a[module]
        state[f"base_model.model.{module}.lora_B.weight"] = b[module]
    for module, values in (modules or {}).items():
        state |= {f"base_model.model.{module}.{k}": x for k, x in values.items()}
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base_model,
        "r": rank,
        "lora_alpha": alpha,
        "use_rslora": use_rslora,
        "target_modules": sorted(a),  # full names match these layers and no others
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "modules_to_save": sorted(modules) if modules else None,
    }
    _write(Path(folder), PEFT_WEIGHTS, state, PEFT_CONFIG, config)


def read_peft(
    folder: str | Path, table: Table, modules: Collection[str] = ()
) -> tuple[dict[str, Any], int, float]:
    """Reads adapters written by the package ``peft`` or by the function above.

    Args:
      folder: contains ``adapter_config.json`` and the weights.
      table: names of the torch model that the adapters were trained on.
      modules: names of ``modules_to_save`` that may be there, see ``read_module``.

    Returns:
      ``(adapters, rank, scale)``, adapters float32; ``scale`` is alpha / rank (alpha /
      √rank for rsLoRA), as ``lora.merge`` takes it.

    Raises:
      UserError: files are missing, the adapters are not plain LoRA, or names or shapes
        do not fit; one report names everything that does not fit.
    """
    folder = Path(folder)
    rank, scale = _peft_settings(folder, modules)
    weights = _peft_weights(folder)
    factors: dict[str, dict[str, np.ndarray]] = {"A": {}, "B": {}}
    wrong = []
    for name, value in torch_files.read(weights).items():
        if _module_of(name) in modules:
            continue
        match = _PEFT_FACTOR.fullmatch(name)
        if match is None or value.ndim != 2:
            wrong.append(f"{name} {value.shape}")
        else:
            factors[match[2]][f"{match[1]}.weight"] = value
    a, misfits_a = _ours(factors["A"], table, lora.A, rank)
    b, misfits_b = _ours(factors["B"], table, lora.B, rank)
    single = a.keys() ^ b.keys()
    wrong += misfits_a + misfits_b
    wrong += sorted(f"{owner}, one factor only" for owner in single)
    if wrong or not a:
        raise UserError(
            f"{weights} does not fit this encoder as LoRA of rank {rank}: "
            f"{'; '.join(wrong) or 'no adapters'}. Check that it is for this model"
        )
    flat = {f"{owner}/{lora.A}": value for owner, value in a.items()}
    flat |= {f"{owner}/{lora.B}": value for owner, value in b.items()}
    return traverse_util.unflatten_dict(flat, sep="/"), rank, scale


def read_module(folder: str | Path, module: str) -> dict[str, np.ndarray]:
    """Reads a module that was trained without adapters, from a folder of ``peft``.

    Args:
      folder: as for ``read_peft``.
      module: its name, one of ``modules_to_save``.

    Returns:
      Arrays by their torch names in the module; empty if the folder does not have it.

    Raises:
      UserError: the weights are missing or cannot be read.
    """
    return {
        name.removeprefix("base_model.model.").removeprefix(f"{module}."): value
        for name, value in torch_files.read(_peft_weights(Path(folder))).items()
        if _module_of(name) == module
    }


def _module_of(name: str) -> str:
    """Returns the first part of the name of an array in a folder of ``peft``."""
    return name.removeprefix("base_model.model.").partition(".")[0]


def _peft_weights(folder: Path) -> Path:
    weights = folder / PEFT_WEIGHTS
    return weights if weights.exists() else folder / "adapter_model.bin"


def hf(
    variables: Mapping[str, Any],
    table: Table,
    config: Mapping[str, Any],
    folder: str | Path,
) -> None:
    """Writes an encoder that ``from_pretrained(folder)`` of ``transformers`` loads.

    Args:
      variables: ``{"params": …}`` of the encoder, with adapters merged.
      table: names of the torch model, e.g. ``key_tables.WAV2VEC2_HF``.
      config: content of ``config.json``, e.g. ``models.wav2vec2.to_hf(model)``.
      folder: receives ``model.safetensors`` (float32) and, last, ``config.json``.

    Raises:
      ValueError: a parameter has no name in the table, e.g. an adapter that was not
        merged.
    """
    state = convert.to_theirs(table, variables)
    _write(Path(folder), "model.safetensors", state, "config.json", config)


def _factors(
    adapters: Mapping[str, Any], table: Table, leaf: str
) -> dict[str, np.ndarray]:
    """Returns one factor of every adapter by torch module name, in torch's layout.

    A factor is converted like its kernel: (in, rank) and (rank, out) are transposed.
    """
    flat = traverse_util.flatten_dict(dict(adapters), sep="/")
    kernels = {
        f"params/{path.removesuffix(leaf)}kernel": value
        for path, value in flat.items()
        if path.endswith(f"/{leaf}")
    }
    named = convert.to_theirs(table, traverse_util.unflatten_dict(kernels, sep="/"))
    return {name.removesuffix(".weight"): value for name, value in named.items()}


def _ours(
    factors: Mapping[str, np.ndarray], table: Table, leaf: str, rank: int
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns factors by the path of their layer, and the names that do not fit."""
    fitting, misfits = {}, []
    for name, value in convert.without_prefix(table, factors).items():
        path, layout = convert.translate(name, table.rules, 0, 1) or (name, None)
        value = np.ascontiguousarray(value.T, np.float32)  # (in, rank) or (rank, out)
        own_rank = value.shape[1] if leaf == lora.A else value.shape[0]
        if layout != "dense" or own_rank != rank:
            misfits.append(f"{name.removesuffix('.weight')}, rank {own_rank}")
        else:
            owner = path.removeprefix("params/").removesuffix("/kernel")
            fitting[owner] = value
    return fitting, misfits


def _peft_settings(folder: Path, modules: Collection[str]) -> tuple[int, float]:
    """Returns rank and scale; refuses settings that we would compute differently."""
    path = folder / PEFT_CONFIG
    if not path.exists():
        raise UserError(
            f"{folder} has no {PEFT_CONFIG}; give the folder that peft's "
            "save_pretrained wrote"
        )
    try:
        config = text_files.read_json(path, dict)
        unsupported = [
            f"{name} = {config[name]!r}"
            for name, neutral in _NEUTRAL.items()
            if config.get(name)
            and config[name] not in neutral
            and not (name == "modules_to_save" and set(config[name]) <= set(modules))
        ]
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
        use_rslora = config.get("use_rslora", False)
    except (UserError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise UserError(
            f"{path} is not a valid peft configuration ({error!r}); save the adapters "
            "again with peft's save_pretrained"
        ) from None
    if unsupported or rank < 1:
        raise UserError(
            f"{path} asks for {', '.join(unsupported) or f'rank {rank}'}; only plain "
            "LoRA of one rank can be read: merge it in torch and give the merged model"
        )
    return rank, alpha / (rank**0.5 if use_rslora else rank)


def _dtype(value: Any) -> Any:
    """Returns float32, but for counters their own dtype."""
    dtype = np.asarray(value).dtype
    return dtype if np.issubdtype(dtype, np.integer) else np.float32


def _write(
    folder: Path,
    weights_name: str,
    state: Mapping[str, np.ndarray],
    config_name: str,
    config: Mapping[str, Any],
) -> None:
    """Writes the weights first, so a folder with its config is complete."""
    # safetensors writes memory as is; an array that is not contiguous comes out wrong
    arrays = {k: np.asarray(v, _dtype(v), order="C") for k, v in state.items()}
    with replacing(folder / weights_name) as part:
        save_file(arrays, part, metadata={"format": "pt"})  # required by transformers
    with replacing(folder / config_name) as part:
        part.write_text(json.dumps(dict(config), indent=1) + "\n")
