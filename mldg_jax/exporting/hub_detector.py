"""Exports the whole detector as a folder for a model hub.

``transformers`` loads it with the Python files in it, ``mldg_jax.load`` without them,
``peft`` the adapters and the head in ``adapters/``, and onnxruntime
``onnx/model.onnx``.
"""

import dataclasses
import importlib.resources
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from mldg_jax.common.config import Config
from mldg_jax.common.config_values import to_dict
from mldg_jax.common.errors import UserError
from mldg_jax.common.files import replacing, write_text, writing
from mldg_jax.common.provenance import fingerprint
from mldg_jax.common.run_folder import CONFIG, HUB_MODEL
from mldg_jax.data.mixdown import SAMPLE_RATE
from mldg_jax.exporting import hub_card, onnx_detector, output_folder
from mldg_jax.models import front_ends
from mldg_jax.models.pretrained import hub, torch_export, torch_state
from mldg_jax.models.pretrained.whisper_tiny import HUB_NAME, WHISPER_TINY_EN
from mldg_jax.scoring.calibration import Calibration, calibration_of
from mldg_jax.scoring.hub_scorer import RUN
from mldg_jax.scoring.scorer import RunParameters, load_parameters

WEIGHTS, PREPROCESSOR = "model.safetensors", "preprocessor_config.json"
ADAPTERS, ONNX = "adapters", "onnx"
MODULES = ("modeling_mldg.py", "heads_mldg.py")
LABELS = ("spoof", "bonafide")  # of the columns of the logits
# The front-ends of hub_folder/modeling_mldg.py.
FRONTENDS = ("whisper", "wav2vec2", "hubert", "wavlm", "unispeech_sat")
HEAD_ATTRIBUTES = ("dim", "heads", "channels")  # of the heads there
_FILES = (CONFIG, WEIGHTS, PREPROCESSOR, *MODULES, ADAPTERS, ONNX)


def export_run(
    run: str | Path,
    folder: str | Path,
    form: str,
    data_dir: str | Path | None = None,
) -> str:
    """Writes a finished run as a folder for a model hub.

    Without the packages ``onnx`` and ``onnxruntime`` it has no ONNX model.

    Args:
      run: a finished run.
      folder: created if it does not exist; an earlier export of the same form in it is
        replaced.
      form: "hub".
      data_dir: folder of the prepared corpora, for windows to check the ONNX model on.

    Returns:
      The lines of Python that score a recording, and how to publish the folder.

    Raises:
      UserError: the run does not exist, is not finished or has a front-end that this
        form does not know; the folder cannot be written to, is a run folder or has a
        file that an export of this form did not write; or the scores of the ONNX model
        differ from JAX's.
    """
    parts = load_parameters(run)
    kind = parts.config.model.frontend["kind"]
    if kind not in FRONTENDS:
        raise UserError(
            f"{run} has the front-end {kind}, which --format hub cannot export; it can "
            f"export {', '.join(FRONTENDS)}"
        )
    calibration = calibration_of(run)
    base = base_name(parts.config.model.weights)
    config = _public(parts.config, base)
    output_folder.check(folder, hub_card.MARK, _FILES, form)
    folder = Path(folder)
    rank, has_onnx = config.model.lora.rank, _has_onnx()
    readme = hub_card.render(
        Path(run), config, calibration, base, has_adapters=rank > 0, has_onnx=has_onnx
    )
    # The README marks the folder as an export, and config.json as a complete one.
    write_text(folder / output_folder.README, readme)
    with writing(folder):
        (folder / CONFIG).unlink(missing_ok=True)
        for name in (ADAPTERS, ONNX):
            shutil.rmtree(folder / name, ignore_errors=True)
    variables = parts.scorer().variables
    _write_weights(
        folder / WEIGHTS, torch_state.to_state(config.model, variables), variables
    )
    for name in MODULES:
        write_text(folder / name, _module(name))
    if rank:
        _write_adapters(folder / ADAPTERS, config, parts, base)
    if has_onnx:
        onnx_detector.write(run, folder / ONNX / onnx_detector.MODEL, data_dir=data_dir)
    _write_json(folder / PREPROCESSOR, _preprocessor())
    _write_json(folder / CONFIG, _config(config, parts.detector, calibration))
    publish = f"# to publish it: hf upload ORG/NAME {folder}"
    return f"{hub_card.example(str(folder))}\n\n{publish}"


def base_name(weights: str) -> str | None:
    """Returns the name on the hub of the pretrained front-end.

    Args:
      weights: ``model.weights`` of a config.

    Returns:
      The name; None for a file or folder of this machine, or random weights.
    """
    if weights == WHISPER_TINY_EN:
        return HUB_NAME
    return weights if hub.is_name(weights) and not Path(weights).exists() else None


def _public(config: Config, base: str | None) -> Config:
    """Returns a config without the paths of this machine."""
    weights = config.model.weights
    if base is None:
        weights = Path(weights).name
    model = dataclasses.replace(config.model, weights=weights)
    return dataclasses.replace(config, model=model, feature_cache="")


def _has_onnx() -> bool:
    return all(importlib.util.find_spec(x) for x in ("onnx", "onnxruntime"))


def _module(name: str) -> str:
    """Returns the text of a Python file of the folder."""
    files = importlib.resources.files("mldg_jax.exporting")
    return (files / "hub_folder" / name).read_text(encoding="utf-8")


def _write_weights(path: Path, state: dict[str, np.ndarray], variables: Any) -> None:
    """Writes the weights; ``mldg_jax.load`` checks the digest."""
    # safetensors writes memory as is; an array that is not contiguous comes out wrong
    arrays = {name: np.asarray(x, order="C") for name, x in state.items()}
    metadata = {"format": "pt", "sha256": fingerprint(arrays)}
    with replacing(path) as part:
        save_file(arrays, part, metadata=metadata)


def _write_adapters(
    folder: Path, config: Config, parts: RunParameters, base: str | None
) -> None:
    """Writes the adapters and the head for ``peft``."""
    tables, lora = torch_state.tables(config.model), config.model.lora
    state = torch_state.to_state(config.model, parts.scorer().variables)
    head = {
        name.removeprefix(f"{torch_state.HEAD}."): value
        for name, value in state.items()
        if name.startswith(f"{torch_state.HEAD}.")
    }
    torch_export.peft(
        parts.trainable["frontend"],
        tables[torch_state.FRONTEND],
        rank=lora.rank,
        alpha=lora.alpha,
        base_model=base or config.model.weights,
        folder=folder,
        use_rslora=lora.rank_stabilised,
        prefix=f"{torch_state.FRONTEND}.",
        modules={torch_state.HEAD: head},
    )


def _preprocessor() -> dict[str, Any]:
    """Returns the content of preprocessor_config.json: the waveform as it is.

    The model itself standardises its windows if the front-end asks for it.
    """
    return {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": SAMPLE_RATE,
        "padding_value": 0.0,
        "do_normalize": False,
        "return_attention_mask": True,
    }


def _config(
    config: Config, detector: Any, calibration: Calibration | None
) -> dict[str, Any]:
    """Returns the content of config.json."""
    kind = config.model.frontend["kind"]
    head: dict[str, Any] = {"kind": config.model.head["kind"]}
    for name in HEAD_ATTRIBUTES:
        if (value := getattr(detector.head, name, None)) is not None:
            head[name] = list(value) if isinstance(value, tuple) else value
    return {
        "model_type": HUB_MODEL,
        "architectures": ["MldgForAudioClassification"],
        "auto_map": {
            "AutoConfig": "modeling_mldg.MldgConfig",
            "AutoModelForAudioClassification": (
                "modeling_mldg.MldgForAudioClassification"
            ),
        },
        "id2label": {str(i): label for i, label in enumerate(LABELS)},
        "label2id": {label: i for i, label in enumerate(LABELS)},
        "dtype": "float32",
        "frontend": front_ends.KINDS[kind].to_hf(detector.frontend),
        "normalize": getattr(detector.frontend, "normalize", False),
        "head": head,
        "read": list(detector.read),
        "window": config.crop_samples,
        "calibration": calibration._asdict() if calibration else None,
        RUN: to_dict(config),
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
