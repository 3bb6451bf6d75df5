"""Cache of the front-end's features before the first adapter.

The feature extractor (or log-mel and stem) is frozen. If crops are the same in every
epoch, its output is computed once per utterance and read from a file afterwards, which
saves each step that part of the forward pass. The file's name is a hash of everything
its content depends on, so runs share it. It is written batch by batch, and an
interrupted one is continued.
"""

import fcntl
import functools
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from mldg_jax.common.errors import UserError
from mldg_jax.common.files import writing
from mldg_jax.data import episodes
from mldg_jax.data.augment import section
from mldg_jax.data.corpus import Corpus
from mldg_jax.models.detector import Detector, frontend_prefix

BATCH = 8  # utterances per call of the front-end
Read = Callable[[np.ndarray], np.ndarray]


def check(config: Any) -> None:
    """Checks that a config's features do not change during training.

    Args:
      config: config of the run.

    Raises:
      UserError: crops or front-end change; names the config entries.
    """
    changing = [f"augment.{name}" for name in section.switched_on(config.augment)]
    if config.episode.crop != "first":
        changing.append("episode.crop")
    if config.model.full:
        changing.append("model.full")
    if changing:
        raise UserError(
            f"the feature cache {config.feature_cache} cannot be used: "
            f"{', '.join(changing)} would change the features at every step. Leave "
            "feature_cache empty, or set episode.crop=first without augmentation"
        )


def kept(
    config: Any,
    detector: Detector,
    frontend: Any,
    corpus: Corpus,
    *,
    fingerprint: str,
) -> Read:
    """Opens the feature cache of a run; computes the features that are missing.

    Args:
      config: config of the run; ``config.feature_cache`` is the folder for the files.
      detector: the run's detector.
      frontend: parameters of its front-end, in the form that the step uses.
      corpus: the training corpus, n utterances.
      fingerprint: fingerprint of those parameters as loaded, see
        ``run_folder.check_frozen``.

    Returns:
      A function from utterance numbers (…,) to features (…, frames, dim), in the dtype
      that the step would compute.

    Raises:
      UserError: the disk is too small or cannot be written to.
    """
    make = jax.jit(functools.partial(frontend_prefix, detector))
    waveform = jax.ShapeDtypeStruct((1, config.crop_samples), np.float32)
    features = jax.eval_shape(make, frontend, waveform)
    shape, dtype = (len(corpus.label), *features.shape[1:]), np.dtype(features.dtype)
    name = _name(config, detector, corpus, fingerprint)
    path = Path(config.feature_cache) / f"{name}.bin"
    if not path.exists():
        with writing(path.parent):
            _write(path, shape, dtype, make, frontend, corpus, config.crop_samples)
    return functools.partial(_read, path, dtype, shape)


def _name(config: Any, detector: Any, corpus: Corpus, fingerprint: str) -> str:
    """Returns a hash of everything that the features depend on."""
    # What does not affect the stem gets neutral values, so that more runs share it.
    neutral = {"layers": 0, "lora_scale": 1.0, "lora_dropout": 0.0}
    stem = detector.frontend.clone(**neutral, remat=False, scan=False)
    parts = {
        "frontend": fingerprint,
        "stem": repr(stem),  # includes the dtype of the stored parameters
        "samples": config.crop_samples,
        "corpus": [config.corpus.name, config.corpus.config, config.corpus.sha256],
        "utterances": corpus.utterance.tolist(),
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _write(path, shape, dtype, make, frontend, corpus: Corpus, samples: int) -> None:
    """Writes the features of all utterances, continuing a partial file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    item_bytes = dtype.itemsize * int(np.prod(shape[1:]))
    with part.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # another run may be writing the same file
        if path.exists():
            part.unlink(missing_ok=True)
            return
        done = part.stat().st_size // item_bytes
        need = (shape[0] - done) * item_bytes
        free = shutil.disk_usage(path.parent).free
        if need > free:
            raise UserError(
                f"the features of {shape[0]:,} utterances need {need / 1e9:.1f} GB "
                f"more; {path.parent} has {free / 1e9:.1f} GB: name another folder in "
                "feature_cache, or leave it empty"
            )
        file.truncate(done * item_bytes)  # drop an utterance that was cut short
        for first in tqdm(
            range(done, shape[0], BATCH), desc="feature cache", unit_scale=BATCH
        ):
            rows = range(first, min(first + BATCH, shape[0]))
            # Always a full batch, so that there is one shape to compile.
            waveforms = np.zeros((BATCH, samples), np.float32)
            for i, row in enumerate(rows):
                waveforms[i] = episodes.crop(corpus.waveform(row), samples, 0.0)
            features = np.asarray(make(frontend, waveforms))[: len(rows)]
            file.write(np.ascontiguousarray(features, dtype).tobytes())
        file.flush()
        part.rename(path)


def _read(path: Path, dtype: Any, shape: tuple, rows: np.ndarray) -> np.ndarray:
    """Reads features; opens the file at every call so that workers can be sent this."""
    return np.asarray(np.memmap(path, dtype, "r", shape=shape)[rows])
