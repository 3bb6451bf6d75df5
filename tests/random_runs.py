"""Finished runs with random parameters: every kind of detector, without training."""

import dataclasses
from pathlib import Path

import jax
import numpy as np

from mldg_jax.common import run_folder
from mldg_jax.models import split
from mldg_jax.models.detector import create_detector
from mldg_jax.scoring.calibration import (
    CALIBRATION_FILE,
    Calibration,
    save_calibration,
)
from mldg_jax.training.config_files import read_config_file

SAMPLES = 6_400
SHAPE = {"layers": 2, "dim": 32, "heads": 4, "hidden": 48}
CONVOLUTIONS = {"channels": (16,) * 7, "positional_width": 16, "positional_groups": 4}
FRONTENDS = {
    "whisper": {"kind": "whisper", "positions": 60, **SHAPE},
    "xls-r": {"kind": "wav2vec2", **CONVOLUTIONS, **SHAPE},
    "base": {
        "kind": "wav2vec2",
        "extractor_norm": "group",
        "conv_bias": False,
        "pre_norm": False,
        "normalize": True,
        **CONVOLUTIONS,
        **SHAPE,
    },
    "chosen layers": {"kind": "whisper", "positions": 60, **SHAPE, "layers": (0, 2)},
    "w2v-bert": {"kind": "wav2vec2_bert", "mels": 6, "taps": 3, **SHAPE},
    "hubert": {"kind": "hubert", **CONVOLUTIONS, **SHAPE},
    "unispeech-sat": {"kind": "unispeech_sat", **CONVOLUTIONS, **SHAPE},
    "wavlm": {"kind": "wavlm", "buckets": 16, **CONVOLUTIONS, **SHAPE},
}
HEADS = {
    "pooling": {"kind": "pooling", "dim": 16},
    "linear": {"kind": "linear"},
    "mhfa": {"kind": "mhfa", "dim": 12, "heads": 3},
    "sls": {"kind": "sls", "dim": 16},
    "aasist": {"kind": "aasist", "dim": 27, "channels": (4, 4, 8, 8, 8, 8)},
}


def write(
    folder: Path, frontend: str, head: str, *, calibrated: bool = False, rank: int = 3
) -> Path:
    """Writes a run folder.

    Args:
      folder: to write to.
      frontend: a key of ``FRONTENDS``.
      head: a key of ``HEADS``.
      calibrated: whether the run has a calibration.
      rank: of the adapters; 0 to fine-tune the front-end.

    Returns:
      The folder.
    """
    config = read_config_file("tests/tiny.py:mldg")
    lora = dataclasses.replace(config.model.lora, rank=rank, alpha=4.0)
    model = dataclasses.replace(
        config.model,
        weights="random",
        frontend=FRONTENDS[frontend],
        head=HEADS[head],
        lora=lora,
        full=rank == 0,
    )
    config = dataclasses.replace(config, model=model, crop_samples=SAMPLES)
    detector = create_detector(model)
    shapes = split.parameter_shapes(detector, model, SAMPLES)
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        name = jax.tree_util.keystr(path)
        inputs = np.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 10
        # the pooled frames of random encoders differ little
        gain = 10 if head == "pooling" and "logits" in name else 1
        noise = gain * rng.normal(size=leaf.shape) / inputs**0.5
        noise = noise.astype(leaf.dtype)
        # scales and variances are positive
        return 0.5 + abs(noise) if "scale" in name or "var" in name else noise

    parameters = jax.tree_util.tree_map_with_path(fill, tuple(shapes))
    run_folder.write_config(folder, config)
    run_folder.write_trainable(folder, *parameters)
    if calibrated:
        fitted = Calibration(0.7, -0.4, 0.5, 10, 20)
        save_calibration(folder / CALIBRATION_FILE, fitted)
    return folder
