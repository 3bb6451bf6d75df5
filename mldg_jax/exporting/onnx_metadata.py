"""What an ONNX file says about its detector: the ``metadata_props``."""

import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mldg_jax.common import run_folder
from mldg_jax.common.config_values import to_dict
from mldg_jax.data.audio import SAMPLE_RATE
from mldg_jax.models.pretrained import RANDOM
from mldg_jax.models.pretrained.whisper_tiny import WHISPER_TINY_EN
from mldg_jax.scoring.card_terms import LICENCES
from mldg_jax.scoring.scorer import Scorer

FORMAT = "1"  # raised when a reader of format 1 would misread a file
POLARITY = "higher is bona fide"
NOTICES = {  # who made the front-end's weights, where known
    WHISPER_TINY_EN: "Whisper tiny.en, Copyright (c) 2022 OpenAI, MIT License",
    "facebook/wav2vec2-xls-r-300m": "XLS-R 300M, Meta AI, Apache License 2.0",
}


def describe(scorer: Scorer, run: str | Path | None = None) -> dict[str, str]:
    """Describes a detector.

    Args:
      scorer: the detector.
      run: the folder that it is from, for what it was trained on.

    Returns:
      ``metadata_props``: all values are text; ``trained_on``, ``frontend`` and ``head``
      are JSON. ``calibration_scale`` and ``calibration_offset`` are there for a
      calibrated detector only.
    """
    config = scorer.config
    weights = config.model.weights
    trained_on: dict[str, Any] = {
        "corpus": config.corpus.name,
        "config": config.corpus.config,
        "sha256": config.corpus.sha256,
    }
    if run is not None:
        facts = run_folder.read_provenance(run).get("trained_on", {})
        trained_on["attacks"] = sorted(facts.get("spoof", {}))
        trained_on["languages"] = facts.get("languages", [])
    model = to_dict(config)["model"]
    return {
        "mldg_format": FORMAT,
        "mldg_jax": importlib.metadata.version("mldg_jax"),
        "window_samples": str(scorer.samples),
        "sample_rate": str(SAMPLE_RATE),
        "polarity": POLARITY,
        "method": config.method,
        "frontend": _json(model["frontend"]),
        "head": _json(model["head"]),
        "trained_on": _json(trained_on),
        **_calibration(scorer),
        **_licence(weights),
    }


def _calibration(scorer: Scorer) -> dict[str, str]:
    fitted = scorer.calibration
    if fitted is None:
        return {"calibrated": "false", "score": "difference of the logits"}
    return {
        "calibrated": "true",
        "score": "natural log-likelihood ratio, bona fide over spoof",
        "calibration_scale": repr(float(fitted.scale)),
        "calibration_offset": repr(float(fitted.offset)),
        "calibration": _json(fitted._asdict()),
    }


def _licence(weights: str) -> dict[str, str]:
    """Returns the source and the licence of the front-end's weights."""
    if weights == RANDOM:
        return {"weights": RANDOM, "weights_licence": "none"}
    unknown = f"see the source of the weights, {weights}"
    return {
        "weights": weights,
        "weights_licence": LICENCES.get(weights, "other"),
        "weights_notice": NOTICES.get(weights, unknown),
    }


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)
