"""Scores: a trained run and recordings in, one number an utterance out.

A score is higher for bona fide: the difference of the two logits, or, once the run is
calibrated, a log-likelihood ratio. A recording is cut
into windows as long as the training crops, spread evenly so that they cover it; its
score is the mean over its windows. One window shape means one compiled program for
recordings of every length, and windows of several recordings share a batch.
"""

import functools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from mldg_jax import lora
from mldg_jax.common import run_folder
from mldg_jax.common.config import Config
from mldg_jax.common.errors import UserError
from mldg_jax.data import audio
from mldg_jax.data.corpus import BONAFIDE, SPOOF, Corpus, spread
from mldg_jax.data.episodes import crop
from mldg_jax.models import pretrained, split
from mldg_jax.models.detector import Detector, create_detector, score_logits
from mldg_jax.scoring import model_card
from mldg_jax.scoring.calibration import (
    CALIBRATION_FILE,
    Calibration,
    apply_calibration,
    fit_calibration,
    load_calibration,
    save_calibration,
)

BATCH = 16


class Windows(NamedTuple):
    """The scores of a recording's windows.

    Attributes:
      start: (windows,) float64, seconds.
      end: (windows,) float64, seconds, at most the recording's length.
      score: (windows,) float64, higher is more bona fide.
    """

    start: np.ndarray
    end: np.ndarray
    score: np.ndarray


class Scorer(NamedTuple):
    """A trained detector, ready to score.

    Attributes:
      detector: the model.
      variables: its parameters and statistics.
      samples: window length at 16 kHz.
      config: the run's config.
      calibration: makes its scores log-likelihood ratios; None if it has none.
    """

    detector: Detector
    variables: Mapping[str, Any]
    samples: int
    config: Config
    calibration: Calibration | None = None

    def score(self, waveform: np.ndarray, sample_rate: int) -> float:
        """Scores one recording; higher is more bona fide.

        Args:
          waveform: (samples,) or (channels, samples), any real dtype.
          sample_rate: in Hz.

        Raises:
          UserError: empty, too short, silent or not finite.
        """
        return float(self.timeline(waveform, sample_rate).score.mean())

    def timeline(
        self, waveform: np.ndarray, sample_rate: int, overlap: float = 0.0
    ) -> Windows:
        """Scores the windows of one recording; arguments as ``score`` and ``stream``.

        ``score`` is the mean over the windows with no more overlap than it takes.
        """
        prepared = audio.prepare(waveform, sample_rate)
        return next(stream(self, [prepared], overlap))


def load(run: str | Path) -> Scorer:
    """Loads a finished run, its adapters merged into the front-end.

    If it was calibrated, its scores are log-likelihood ratios.

    Raises:
      UserError: no such run, not finished, or its parameters fit another model.
    """
    scorer = load_unmerged(run)
    frontend = scorer.variables["params"]["frontend"]
    if scorer.config.model.lora.rank:
        adapters, frozen = split_adapters(frontend)
        scale = scorer.detector.frontend.lora_scale
        frontend = lora.merge(frozen, adapters, scale=scale)
    params = {**scorer.variables["params"], "frontend": frontend}
    fitted = Path(run) / CALIBRATION_FILE
    return scorer._replace(
        variables={**scorer.variables, "params": params},
        calibration=load_calibration(fitted) if fitted.exists() else None,
    )


def split_adapters(frontend: lora.Params) -> tuple[dict, dict]:
    """Splits a front-end's parameters into adapters and the rest."""
    return lora.split(frontend, [rf".*/({lora.A}|{lora.B})"])


def load_unmerged(run: str | Path) -> Scorer:
    """Loads a finished run with its adapters beside the front-end's own parameters.

    Raises:
      UserError: as ``load``.
    """
    config = run_folder.read_config(run)
    found = run_folder.read_trainable(run)
    detector = create_detector(config.model)
    frontend = pretrained.load_frontend(config.model)
    examples = jax.ShapeDtypeStruct((1, config.samples), np.float32)
    options = split.split_options(config.model)
    *expected, frozen = jax.eval_shape(
        lambda key, x: split.init_parameters(key, detector, frontend, x, **options),
        jax.random.key(0),
        examples,
    )
    if jax.tree.map(np.shape, tuple(expected)) != jax.tree.map(np.shape, found):
        raise UserError(
            f"{run}: {run_folder.TRAINABLE} does not fit the model in "
            f"{run_folder.CONFIG}; one of the two is from another run"
        )
    rest = {"frontend": frontend if jax.tree.leaves(frozen) else {}}
    variables = split.variables(*found, rest)
    return Scorer(detector, variables, config.samples, config)


def starts(length: int, samples: int, overlap: float = 0.0) -> np.ndarray:
    """Where the windows of a recording begin: the fewest, evenly spread, that cover it.

    Args:
      length: of the recording in samples, ≥ 1.
      samples: of a window.
      overlap: neighbours share at least this part of a window, in [0, 1).

    Returns:
      (windows,) int64, from 0 to length − samples; [0] for a recording that is shorter.

    Raises:
      UserError: an overlap outside [0, 1).
    """
    if not 0 <= overlap < 1:
        raise UserError(f"an overlap of {overlap} windows; it must be in [0, 1)")
    spare = max(0, length - samples)
    count = 1 + int(np.ceil(spare / max(1, samples * (1 - overlap))))
    # 1.0 would be one past the last start
    spread = np.minimum(np.arange(count) / max(1, count - 1), 1 - 1e-9)
    return (spread * (spare + 1)).astype(np.int64)


@functools.partial(jax.jit, static_argnames="detector")
def _score(variables: Any, waveform: jax.Array, *, detector: Detector):
    return score_logits(detector.apply(variables, waveform))


def stream(
    scorer: Scorer, waveforms: Iterable[np.ndarray], overlap: float = 0.0
) -> Iterator[Windows]:
    """Scores prepared recordings one after the other, several in a batch.

    A recording is asked for when the batches before it are done, so that any number of
    them fits in memory.

    Args:
      scorer: from ``load``.
      waveforms: each (samples,) float32 in [-1, 1], mono, 16 kHz; one that is shorter
        than a window is repeated.
      overlap: see ``starts``.

    Yields:
      The windows of each recording, in order.
    """
    samples = scorer.samples
    waiting: deque[Windows] = deque()
    batch: list[tuple[np.ndarray, np.ndarray, int]] = []  # window, where it is scored

    def flush():
        padded = np.zeros((BATCH, samples), np.float32)
        padded[: len(batch)] = [window for window, _, _ in batch]
        found = _score(scorer.variables, padded, detector=scorer.detector)
        found = np.asarray(found, np.float64)
        if scorer.calibration is not None:
            found = apply_calibration(scorer.calibration, found)
        for (_, scores, i), score in zip(batch, found, strict=False):
            scores[i] = score
        batch.clear()

    def finished(last=None):
        """The recordings before ``last`` that have no window in the batch."""
        open_ones = {id(scores) for _, scores, _ in batch}
        while waiting and waiting[0] is not last:
            if id(waiting[0].score) in open_ones:
                return
            yield waiting.popleft()

    for waveform in waveforms:
        first = starts(len(waveform), samples, overlap)
        end = np.minimum(first + samples, len(waveform))
        scale = 1.0 / audio.SAMPLE_RATE
        this = Windows(first * scale, end * scale, np.empty(len(first)))
        waiting.append(this)
        for i, at in enumerate(first):
            batch.append(
                (crop(waveform[at : at + samples], samples, 0.0), this.score, i)
            )
            if len(batch) == BATCH:
                flush()
                yield from finished(this)
        yield from finished()
    if batch:
        flush()
    yield from finished()


def score_waveforms(
    scorer: Scorer, waveforms: Iterable[np.ndarray], overlap: float = 0.0
) -> np.ndarray:
    """Scores prepared recordings; arguments as ``stream``.

    Returns:
      (n,) float64, higher is more bona fide.
    """
    return np.array([w.score.mean() for w in stream(scorer, waveforms, overlap)])


def calibrate(run: str | Path, corpus: Corpus, *, utterances: int) -> Path:
    """Scores part of a split, fits the calibration and keeps it in the run's folder.

    From then on ``mldg score`` and ``load(run)`` give calibrated scores.

    Args:
      run: a finished run.
      corpus: a dev split.
      utterances: at most so many of each class, the same each time; 0 for all.

    Returns:
      The file.

    Raises:
      UserError: no finished run, or scores that cannot be calibrated.
    """
    path = Path(run) / CALIBRATION_FILE
    raw = load(run)._replace(calibration=None)
    rows = np.concatenate(
        [spread(corpus.label == c, utterances) for c in (BONAFIDE, SPOOF)]
    )
    scores = score_waveforms(raw, (corpus.waveform(i) for i in rows))
    save_calibration(path, fit_calibration(scores, corpus.label[rows]))
    model_card.write(run)
    return path
