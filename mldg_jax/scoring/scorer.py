"""Scores recordings with a trained run.

A score is higher for bona fide: the difference of the two logits or, if the run is
calibrated, a log-likelihood ratio. A recording is split into windows of the length of
the training crops, evenly spread to cover it, and its score is their mean. One compiled
program scores all recordings, and windows of several of them share a batch.
"""

import itertools
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
from mldg_jax.common.files import check_output
from mldg_jax.data import audio
from mldg_jax.data.corpus import BONAFIDE, SPOOF, Corpus, spread
from mldg_jax.data.mixdown import Waveform
from mldg_jax.models import pretrained, split
from mldg_jax.models.detector import Detector, create_detector, locates
from mldg_jax.scoring import model_card, programs
from mldg_jax.scoring.calibration import (
    CALIBRATION_FILE,
    Calibration,
    apply_calibration,
    calibration_of,
    fit_calibration,
    save_calibration,
)
from mldg_jax.scoring.calibration_trials import DevTrials, check_trials
from mldg_jax.scoring.windows import Windows, all_starts, assembled, cut, windows_of

BATCH = 16


class Scorer(NamedTuple):
    """A trained detector, ready to score.

    Attributes:
      detector: the model.
      variables: its parameters and statistics.
      samples: window length at 16 kHz.
      config: the run's config.
      calibration: maps scores to log-likelihood ratios; None if not calibrated.
    """

    detector: Detector
    variables: Mapping[str, Any]
    samples: int
    config: Config
    calibration: Calibration | None = None

    def __repr__(self) -> str:
        """Describes the detector in a line, without its arrays."""
        model, seconds = self.config.model, self.samples / audio.SAMPLE_RATE
        return (
            f"Scorer({self.config.method}: {model.frontend.get('kind')} + "
            f"{model.head.get('kind')}, windows of {seconds:g} s, "
            f"{'not ' * (self.calibration is None)}calibrated, "
            f"{lora.count(self.variables['params']):,} parameters)"
        )

    def score(self, waveform: np.ndarray, sample_rate: int) -> float:
        """Scores one recording.

        Args:
          waveform: (samples,) or (channels, samples), any real dtype.
          sample_rate: in Hz.

        Returns:
          The score, higher for bona fide.

        Raises:
          UserError: the recording is empty, too short, silent or not finite.
        """
        return float(self.timeline(waveform, sample_rate).recording_score)

    def timeline(
        self, waveform: np.ndarray, sample_rate: int, overlap: float = 0.0
    ) -> Windows:
        """Scores the windows of one recording.

        Args:
          waveform, sample_rate: as for ``score``.
          overlap: see ``starts``; ``recording_score`` does not depend on it.

        Returns:
          The segment scores.

        Raises:
          UserError: as for ``score``, or an overlap outside [0, 1).
        """
        prepared = audio.prepare(waveform, sample_rate)
        return next(stream(self, [prepared], overlap))

    def embed(
        self, waveform: np.ndarray, sample_rate: int, overlap: float = 0.0
    ) -> np.ndarray:
        """Computes the front-end's embeddings of one recording, layer by layer.

        They are of the trained front-end, with its adapters, and of the windows that
        ``timeline`` scores, one after the other: what the head sees.

        Args:
          waveform, sample_rate, overlap: as for ``timeline``.

        Returns:
          (layers + 1, windows · frames, dim) float32: the input of the transformer,
          then the output of each layer, before the last normalisation. Whisper and
          wav2vec 2.0 have 50 frames per second.

        Raises:
          UserError: as for ``timeline``.
        """
        prepared = audio.prepare(waveform, sample_rate)
        batches = _batches(self.samples, windows_of(prepared, self.samples, overlap))
        states = [
            np.asarray(
                programs.layer_states(self.variables, batch, detector=self.detector)
            )[:, :size]
            for batch, size in batches
        ]
        joined = np.concatenate(states, axis=1)  # (layers + 1, windows, frames, dim)
        return joined.reshape(len(joined), -1, joined.shape[-1])


class RunParameters(NamedTuple):
    """The parameters of a finished run, in parts.

    Attributes:
      config: the run's config.
      detector: the model, computing in float32.
      trainable: ``head`` and, if the front-end has adapters or is fine-tuned,
        ``frontend``.
      batch_stats: the head's statistics.
      frontend: the pretrained front-end's own parameters.
    """

    config: Config
    detector: Detector
    trainable: dict[str, Any]
    batch_stats: dict[str, Any]
    frontend: dict[str, Any]

    def merged_frontend(self) -> dict[str, Any]:
        """Returns the trained front-end, with adapters merged into it."""
        trained = self.trainable.get("frontend", {})
        if not self.config.model.lora.rank:
            return trained or self.frontend  # fine-tuned, or frozen
        scale = self.detector.frontend.lora_scale
        return lora.merge(self.frontend, trained, scale=scale)

    def scorer(self) -> Scorer:
        """Returns the detector, not calibrated, with its adapters merged."""
        params = {**self.trainable, "frontend": self.merged_frontend()}
        return Scorer(
            self.detector,
            {"params": params, "batch_stats": self.batch_stats},
            self.config.crop_samples,
            self.config,
        )


def load(run: str | Path) -> Scorer:
    """Loads a finished run, with its adapters merged into the front-end.

    The scores of a calibrated run are log-likelihood ratios.

    Args:
      run: the run's folder.

    Returns:
      The scorer.

    Raises:
      UserError: the run does not exist or is not finished, or its parameters do not fit
        its model.
    """
    return load_parameters(run).scorer()._replace(calibration=calibration_of(run))


def load_parameters(run: str | Path) -> RunParameters:
    """Loads the trained parameters of a finished run and its pretrained front-end.

    Args:
      run: the run's folder.

    Returns:
      The parameters.

    Raises:
      UserError: as for ``load``.
    """
    if not isinstance(run, str | Path):
        raise UserError(f"a run is {run!r}; it must be the path of its folder")
    config = run_folder.read_config(run)
    trained = run_folder.read_trainable(run)
    detector = create_detector(config.model)
    expected = split.parameter_shapes(detector, config.model, config.crop_samples)
    if jax.tree.map(np.shape, tuple(expected)) != jax.tree.map(np.shape, trained):
        raise UserError(
            f"{run}: {run_folder.TRAINABLE} does not fit the model in "
            f"{run_folder.CONFIG}, so they come from different runs: copy the whole "
            "folder again, or repeat the training"
        )
    frontend = pretrained.load_frontend(config.model)
    run_folder.check_frozen(Path(run), config.model.weights, frontend, write=False)
    return RunParameters(config, detector, *trained, frontend)


def stream(
    scorer: Scorer, waveforms: Iterable[Waveform], overlap: float = 0.0
) -> Iterator[Windows]:
    """Scores prepared recordings one after the other, several in a batch.

    A recording is requested only when the previous batches are done, so that memory
    does not limit their number.

    Args:
      scorer: from ``load``.
      waveforms: each (samples,) float32 in [-1, 1], mono, 16 kHz; one that is shorter
        than a window is repeated.
      overlap: see ``starts``.

    Yields:
      The segment scores of each recording, in order.
    """
    samples = scorer.samples
    unscored: deque[tuple[int, np.ndarray]] = deque()  # length, starts

    def windows() -> Iterator[np.ndarray]:
        for waveform in waveforms:
            first = all_starts(len(waveform), samples, overlap)
            unscored.append((len(waveform), first))
            yield from cut(waveform, samples, first)

    # Scores arrive in the order of the windows; every recording has at least one.
    scores: list[np.ndarray] = []
    for score in _score_windows(scorer, windows()):
        scores.append(score)
        if len(scores) == len(unscored[0][1]):
            length, _ = unscored.popleft()
            yield assembled(length, samples, overlap, np.stack(scores))
            scores = []


def _score_windows(
    scorer: Scorer, windows: Iterator[np.ndarray]
) -> Iterator[np.ndarray]:
    """Scores windows, each (samples,) float32, in order; see ``windows.assembled``."""
    program = programs.frame_scores if locates(scorer.detector) else programs.scores
    for batch, size in _batches(scorer.samples, windows):
        logits = program(scorer.variables, batch, detector=scorer.detector)
        scores = np.asarray(logits, np.float64)[:size].reshape(size, -1)
        if scorer.calibration is not None:
            scores = apply_calibration(scorer.calibration, scores)
        yield from scores


def _batches(
    samples: int, windows: Iterator[np.ndarray]
) -> Iterator[tuple[np.ndarray, int]]:
    """Yields (BATCH, samples) float32 and how many of its rows are windows."""
    while batch := list(itertools.islice(windows, BATCH)):
        padded = np.zeros((BATCH, samples), np.float32)
        padded[: len(batch)] = batch
        yield padded, len(batch)


def score_waveforms(scorer: Scorer, waveforms: Iterable[Waveform]) -> np.ndarray:
    """Scores prepared recordings.

    Args:
      scorer, waveforms: as for ``stream``.

    Returns:
      (n,) float64, higher for bona fide.
    """
    return np.array([x.recording_score for x in stream(scorer, waveforms)])


def calibrate(
    run: str | Path, corpus: Corpus, *, utterances: int, trials: DevTrials | None = None
) -> Path:
    """Fits and stores a run's calibration; its scores are calibrated from then on.

    Args:
      run, corpus: a finished run, and a split that it was not trained on, see
        ``calibration_trials.load_trials``.
      utterances: largest number of each class, the same ones each time; 0 for all.
      trials: where the corpus is from, see ``trials_of``, for the model card.

    Returns:
      The calibration file.

    Raises:
      UserError: the run, its folder, the split or ``utterances`` does not allow it.
    """
    path = Path(run) / CALIBRATION_FILE
    check_output(path)
    check_trials(corpus.label, utterances, trials)
    raw = load_parameters(run).scorer()
    classes = [corpus.label == label for label in (BONAFIDE, SPOOF)]
    rows = np.concatenate([spread(x, utterances) for x in classes])
    scores = score_waveforms(raw, (corpus.waveform(i) for i in rows))
    spoof = corpus.attack[rows[corpus.label[rows] == SPOOF]]
    fitted = fit_calibration(scores, corpus.label[rows])
    fitted = fitted._replace(attacks=tuple(sorted(set(spoof.tolist()))))
    save_calibration(path, fitted._replace(**trials._asdict()) if trials else fitted)
    model_card.write(run)
    return path
