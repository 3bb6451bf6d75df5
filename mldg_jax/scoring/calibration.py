"""Maps scores to log-likelihood ratios, and measures how calibrated scores are.

A calibrated score is the natural logarithm of p(score | bona fide) / p(score | spoof):
at 0 both are equally likely, and the threshold for any prior and costs follows from
Bayes' rule instead of from the test set. ``fit_calibration`` is the affine logistic
regression of Brümmer et al. 2007 (FoCal), on scores of utterances that were not used
for training (a dev split).

``min_cllr`` and ``reliability`` use the best monotonic calibration of the given scores
(isotonic regression, the pool-adjacent-violators algorithm): the Cllr that remains
after it measures discrimination, the rest is calibration.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray as Array
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from mldg_jax import metrics
from mldg_jax.common.errors import UserError
from mldg_jax.common.files import replacing
from mldg_jax.common.text_files import read_json

CALIBRATION_FILE = "calibration.json"  # in a run's folder
FIX = "calibrate again, with `mldg calibrate RUN`"
FEWEST = 50  # trials of a class below which a warning is given


class Calibration(NamedTuple):
    """An affine calibration: log-likelihood ratio = scale · score + offset, in nats.

    Attributes:
      scale: > 0.
      offset: in nats.
      prior: prior probability of bona fide that the fit was weighted for.
      n_bonafide, n_spoof: number of trials it was fitted on.
      corpus, split: where these are from; empty if not recorded.
      is_held_out: whether the split is one of the training corpus, known by its
        SHA-256, and not the one that the run was trained on.
      attacks: those of the spoof trials, sorted; empty if not recorded.
    """

    scale: float
    offset: float
    prior: float
    n_bonafide: int
    n_spoof: int
    corpus: str = ""
    split: str = ""
    is_held_out: bool = False
    attacks: tuple[str, ...] = ()


def fit_calibration(scores: Array, labels: Array, prior: float = 0.5) -> Calibration:
    """Fits the calibration that minimises cross-entropy at a prior.

    Args:
      scores: (trials,) finite, higher for bona fide, of data that the detector was
        not trained on.
      labels: (trials,) 1 bona fide, 0 spoof; the classes are weighted by ``prior``,
        regardless of their sizes.
      prior: of bona fide, in (0, 1). 0.5 minimises Cllr.

    Returns:
      The calibration.

    Raises:
      ValueError: invalid scores, labels or prior.
      UserError: the scores are inverted or constant, or a threshold separates the
        classes without an error, so that no finite scale is best.
    """
    scores, real = metrics.scored(scores, labels)
    metrics.require(0 < prior < 1, f"prior is {prior}, must be in (0, 1); try 0.5")
    bonafide, spoof = scores[real], scores[~real]
    centre, spread = scores.mean(), scores.std()
    if spread == 0:
        raise UserError(
            f"every score is {centre:g}, so there is nothing to calibrate; check the "
            "detector's output"
        )
    # Also if the classes touch in one score: the likelihood then grows with the scale
    # for ever (Albert & Anderson 1984, quasi-complete separation).
    if bonafide.min() >= spoof.max():
        raise UserError(
            f"a threshold separates all {scores.size:,} trials (bona fide ≥ "
            f"{bonafide.min():g}, spoof ≤ {spoof.max():g}), so the scale has no "
            "optimum; calibrate on more or harder trials"
        )
    weights = np.where(real, prior / bonafide.size, (1 - prior) / spoof.size)
    # An infinite C means no penalty. Standardised scores are well conditioned.
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12)
    model.fit((scores[:, None] - centre) / spread, real, weights * scores.size)
    scale = float(model.coef_[0, 0] / spread)
    if scale <= 0:
        raise UserError(
            f"the fitted scale is {scale:g}: on these trials, spoof scores are as high "
            "as bona fide ones or higher. Either the detector has learned too little "
            "(train it longer, or check its EER), or a higher score means spoof (then "
            "negate the scores)"
        )
    offset = float(model.intercept_[0] - scale * centre - logit(prior))
    return Calibration(scale, offset, prior, bonafide.size, spoof.size)


def apply_calibration(calibration: Calibration, scores: Array) -> Array:
    """Maps scores to log-likelihood ratios.

    Args:
      calibration: from ``fit_calibration``.
      scores: of any shape.

    Returns:
      Log-likelihood ratios in nats, float64 of the same shape.
    """
    return calibration.scale * np.asarray(scores, np.float64) + calibration.offset


def save_calibration(path: str | Path, calibration: Calibration) -> None:
    """Writes a calibration to a JSON file, atomically.

    Args:
      path: the file.
      calibration: from ``fit_calibration``.
    """
    with replacing(path) as part:
        part.write_text(json.dumps(calibration._asdict(), indent=1) + "\n")


def load_calibration(path: str | Path) -> Calibration:
    """Reads the file of ``save_calibration``.

    Args:
      path: the file.

    Returns:
      The calibration.

    Raises:
      UserError: the file cannot be read or does not hold a calibration.
    """
    return to_calibration(read_json(path, dict, fix=FIX), path, FIX)


def to_calibration(
    content: Mapping[str, Any], name: str | Path, fix: str
) -> Calibration:
    """Converts the content of a file to a calibration.

    Args:
      content: the fields of ``Calibration`` by name.
      name: of the file, for the message.
      fix: what to do if it is not a calibration, for the message.

    Returns:
      The calibration.

    Raises:
      UserError: the content is not a calibration.
    """
    try:
        fitted = Calibration(**content)
        fitted = fitted._replace(attacks=tuple(fitted.attacks))  # JSON has lists
        usable = fitted.scale > 0 and np.isfinite([fitted.scale, fitted.offset]).all()
    except (ValueError, TypeError):
        usable = False
    if not usable:
        raise UserError(
            f"{name} is damaged: it must hold {', '.join(Calibration._fields[:5])} "
            f"with a scale above 0; {fix}"
        )
    return fitted


def calibration_of(run: str | Path) -> Calibration | None:
    """Reads the calibration of a run.

    Args:
      run: the run's folder.

    Returns:
      The calibration; None if the run has none.

    Raises:
      UserError: as ``load_calibration``.
    """
    path = Path(run) / CALIBRATION_FILE
    return load_calibration(path) if path.exists() else None


def meaning_of(calibration: Calibration | None) -> str:
    """Says what the scores of a detector are.

    Args:
      calibration: of its scores; None if they are not calibrated.

    Returns:
      Words to follow "scores are".
    """
    if calibration is None:
        return (
            "not calibrated: compare them only with each other; 0 has no meaning as a "
            "threshold (see mldg calibrate)"
        )
    return "log-likelihood ratios: at 0 both classes are equally likely"


def warning_of_few(n_bonafide: int, n_spoof: int) -> str:
    """Says that a calibration is not reliable, if it is on few trials.

    Args:
      n_bonafide, n_spoof: number of trials it is fitted on.

    Returns:
      A sentence without a full stop; "" if there are at least ``FEWEST`` of each class.
    """
    counts = ((n_bonafide, "bona fide"), (n_spoof, "spoof"))
    few = " and ".join(f"{number} {name}" for number, name in counts if number < FEWEST)
    return few and (
        f"a calibration on {few} utterances is not reliable: use at least {FEWEST} of "
        "each class"
    )


def min_cllr(bonafide_scores: Array, spoof_scores: Array) -> float:
    """Computes Cllr after the best monotonic calibration.

    Args:
      bonafide_scores, spoof_scores: (n,) and (m,).

    Returns:
      The cost in bits, in [0, 1].
    """
    scores, real = _pooled(bonafide_scores, spoof_scores)
    posterior = _isotonic(scores, real)
    bits = -np.log2(posterior[real]).mean() - np.log2(1 - posterior[~real]).mean()
    return float(bits / 2)


def reliability(bonafide_scores: Array, spoof_scores: Array) -> tuple[Array, Array]:
    """Computes a reliability diagram at equal priors, without bins.

    The observed probability is that of isotonic regression (Dimitriadis et al. 2021,
    CORP). Both probabilities are equal for a calibrated detector.

    Args:
      bonafide_scores, spoof_scores: (n,) and (m,) natural log-likelihood ratios.

    Returns:
      ``(claimed, observed)``, probabilities of bona fide, each (k,) and increasing: 1 /
      (1 + e^−score), and the regression's value at this score. There are two points for
      each step of the regression.
    """
    scores, real = _pooled(bonafide_scores, spoof_scores)
    order = np.argsort(scores, kind="stable")
    scores, observed = scores[order], _isotonic(scores, real)[order]
    change = np.flatnonzero(np.diff(observed) != 0)
    ends = np.unique(np.r_[0, change, change + 1, scores.size - 1])
    return expit(scores[ends]), observed[ends]


def _pooled(bonafide: Array, spoof: Array) -> tuple[Array, Array]:
    """Returns the scores of both classes, (trials,), and which are bona fide."""
    bonafide, spoof = metrics.class_scores(bonafide), metrics.class_scores(spoof)
    scores = np.concatenate([bonafide, spoof])
    return scores, np.arange(scores.size) < bonafide.size


def _isotonic(scores: Array, real: Array) -> Array:
    """Returns the probability of bona fide at equal priors, increasing in the score."""
    counts = np.where(real, np.sum(real), np.sum(~real))
    model = IsotonicRegression(y_min=0, y_max=1)
    return model.fit(scores, real.astype(np.float64), 1 / counts).predict(scores)
