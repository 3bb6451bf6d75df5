"""What the front-end makes of every training utterance before its first adapter.

The extractor (or log-mel and stem) is frozen: where clips are the same in every epoch,
its output is computed once and read from a file after that, which saves a step that
part of the forward pass. The file is named by everything it depends on, so runs share
it. Written utterance after utterance, it goes on where a kill left it.
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

BATCH = 8
Read = Callable[[np.ndarray], np.ndarray]


def check(config: Any) -> None:
    """Refuses a config whose clips or front-end change during training.

    Raises:
      UserError: names what changes.
    """
    changing = [f"augment.{name}" for name in section.switched_on(config.augment)]
    if config.episode.crop != "first":
        changing.append("episode.crop")
    if config.model.full:
        changing.append("model.full")
    if changing:
        raise UserError(
            f"the feature cache {config.feature_cache} cannot be used: "
            f"{', '.join(changing)} would make other features in every step. Set "
            "feature_cache to nothing, or episode.crop to first and augmentation to "
            "none"
        )


def kept(
    config: Any,
    detector: Detector,
    frontend: Any,
    corpus: Corpus,
    *,
    fingerprint: str,
) -> Read:
    """Computes what is not there yet.

    Args:
      config: the run's; ``config.feature_cache`` is the folder for the files.
      detector: the run's.
      frontend: its front-end's parameters, as the step has them.
      corpus: the training corpus, n utterances.
      fingerprint: of those parameters as they were loaded, see ``check_frozen``.

    Returns:
      A function from rows (…,) to features (…, frames, dim), in the dtype that the step
      would have.

    Raises:
      UserError: the disk is too small or cannot be written to.
    """
    make = jax.jit(functools.partial(frontend_prefix, detector))
    waveform = jax.ShapeDtypeStruct((1, config.crop_samples), np.float32)
    one = jax.eval_shape(make, frontend, waveform)
    shape, dtype = (len(corpus.label), *one.shape[1:]), np.dtype(one.dtype)
    name = _name(config, detector, corpus, fingerprint)
    path = Path(config.feature_cache) / f"{name}.bin"
    if not path.exists():
        with writing(path.parent):
            _write(path, shape, dtype, make, frontend, corpus, config.crop_samples)
    return functools.partial(_read, path, dtype, shape)


def _name(config: Any, detector: Any, corpus: Corpus, fingerprint: str) -> str:
    neutral = {"layers": 0, "lora_scale": 1.0, "lora_dropout": 0.0}
    stem = detector.frontend.clone(**neutral, remat=False, scan=False)
    parts = {
        "frontend": fingerprint,
        "stem": repr(stem),  # with the dtype that the parameters are stored in
        "samples": config.crop_samples,
        "corpus": [config.corpus.name, config.corpus.config, config.corpus.sha256],
        "utterances": corpus.utterance.tolist(),
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _write(path, shape, dtype, make, frontend, corpus: Corpus, samples: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    each = dtype.itemsize * int(np.prod(shape[1:]))
    with part.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # another run may be making the same file
        if path.exists():
            part.unlink(missing_ok=True)
            return
        done = part.stat().st_size // each
        need, free = (shape[0] - done) * each, shutil.disk_usage(path.parent).free
        if need > free:
            raise UserError(
                f"the features of {shape[0]:,} utterances take {need / 1e9:.1f} GB "
                f"more; {path.parent} has {free / 1e9:.1f} GB: name another folder in "
                "feature_cache, or set it to nothing"
            )
        file.truncate(done * each)
        for first in tqdm(
            range(done, shape[0], BATCH), desc="feature cache", unit_scale=BATCH
        ):
            rows = range(first, min(first + BATCH, shape[0]))
            waveforms = np.zeros((BATCH, samples), np.float32)
            for place, row in enumerate(rows):
                waveforms[place] = episodes.crop(corpus.waveform(row), samples, 0.0)
            found = np.asarray(make(frontend, waveforms))[: len(rows)]
            file.write(np.ascontiguousarray(found, dtype).tobytes())
        file.flush()
        part.rename(path)


def _read(path: Path, dtype: Any, shape: tuple, rows: np.ndarray) -> np.ndarray:
    """Opened at every call: a function that holds no file can go to other processes."""
    return np.asarray(np.memmap(path, dtype, "r", shape=shape)[rows])
