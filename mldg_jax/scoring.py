"""Scores: a trained run and recordings in, one number an utterance out.

A score is higher for bona fide: the difference of the two logits. A recording is cut
into windows as long as the training crops; its score is the mean over them. One window
shape means one compiled program for recordings of every length.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from mldg_jax import checkpoint, training
from mldg_jax.data import audio
from mldg_jax.data.episodes import crop
from mldg_jax.errors import UserError
from mldg_jax.models import detector as detectors

BATCH = 16


class Scorer(NamedTuple):
    """A trained detector, ready to score.

    Attributes:
      detector: the model.
      variables: its parameters and statistics.
      samples: window length at 16 kHz.
      config: the run's config.
    """

    detector: detectors.Detector
    variables: Mapping[str, Any]
    samples: int
    config: ml_collections.ConfigDict

    def score(self, waveform: np.ndarray, sample_rate: int) -> float:
        """Scores one recording; higher is more bona fide.

        Args:
          waveform: (samples,) or (channels, samples), any real dtype.
          sample_rate: in Hz.

        Raises:
          UserError: empty, too short, silent or not finite.
        """
        prepared = audio.prepare(waveform, sample_rate)
        return float(score_waveforms(self, [prepared])[0])


def load(run: str | Path) -> Scorer:
    """Loads a finished run.

    Raises:
      UserError: no such run, not finished, or its parameters fit another model.
    """
    config = ml_collections.ConfigDict(checkpoint.read_config(run))
    found = checkpoint.read_trainable(run)
    detector = detectors.create(config.model)
    frontend = training.load_frontend(config.model)
    examples = jax.ShapeDtypeStruct((1, config.samples), np.float32)
    *expected, _ = jax.eval_shape(
        lambda key, x: detectors.init(
            key,
            detector,
            frontend,
            x,
            rank=config.model.lora.rank,
            adapted=config.model.lora.get("targets", detectors.PROJECTIONS),
        ),
        jax.random.key(0),
        examples,
    )
    if jax.tree.map(np.shape, tuple(expected)) != jax.tree.map(np.shape, found):
        raise UserError(
            f"{run}: {checkpoint.TRAINABLE} does not fit the model in "
            f"{checkpoint.CONFIG}; one of the two is from another run"
        )
    variables = detectors.variables(*found, {"frontend": frontend})
    return Scorer(detector, variables, config.samples, config)


def windows(waveform: np.ndarray, samples: int) -> np.ndarray:
    """Cuts a recording into the fewest evenly spread windows that cover it.

    Args:
      waveform: (n,) float32, n ≥ 1; shorter than a window it is repeated.

    Returns:
      (windows, samples) float32.
    """
    count = max(1, -(-len(waveform) // samples))
    starts = np.arange(count) / max(1, count - 1)
    # 1.0 would be one past the last start.
    return np.stack([crop(waveform, samples, min(s, 1 - 1e-9)) for s in starts])


@functools.partial(jax.jit, static_argnames="detector")
def _score(variables: Any, waveform: jax.Array, *, detector: detectors.Detector):
    return detectors.score(detector.apply(variables, waveform))


def score_waveforms(
    scorer: Scorer,
    waveforms: Iterable[np.ndarray],
    progress: Callable[[int], Any] = lambda clips: None,
) -> np.ndarray:
    """Scores prepared recordings (float32 mono 16 kHz).

    Args:
      scorer: from ``load``.
      waveforms: each (samples,) float32 in [-1, 1].
      progress: called with the number of recordings scored so far.

    Returns:
      (n,) float64, higher is more bona fide.
    """
    cut = [windows(w, scorer.samples) for w in waveforms]
    owner = np.repeat(np.arange(len(cut)), [len(c) for c in cut])
    flat = np.concatenate(cut)
    scores = np.empty(len(flat))
    for first in range(0, len(flat), BATCH):
        batch = flat[first : first + BATCH]
        padding = np.zeros((BATCH - len(batch), scorer.samples), np.float32)
        padded = np.concatenate([batch, padding])
        done = _score(scorer.variables, padded, detector=scorer.detector)
        scores[first : first + BATCH] = done[: len(batch)]
        progress(int(owner[min(first + BATCH, len(flat)) - 1]) + 1)
    return np.bincount(owner, scores) / np.bincount(owner)


def score_files(
    run: str | Path, paths: Iterable[str]
) -> list[tuple[str, float | None, UserError | None]]:
    """Scores recordings by path.

    Returns:
      For each path, in order: ``(path, score, None)``, or ``(path, None, problem)``
      when it cannot be scored.

    Raises:
      UserError: the run cannot be loaded.
    """
    scorer = load(run)
    results, readable, waveforms = [], [], []
    for path in paths:
        try:
            waveforms.append(audio.read(path))
            readable.append(len(results))
            results.append((path, None, None))
        except UserError as problem:
            results.append((path, None, problem))
    if waveforms:
        for index, score in zip(
            readable, score_waveforms(scorer, waveforms), strict=True
        ):
            results[index] = (results[index][0], float(score), None)
    return results
