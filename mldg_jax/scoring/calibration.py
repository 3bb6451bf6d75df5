"""Scores to log-likelihood ratios, and how well they are ones.

A calibrated score is the natural logarithm of p(score | bona fide) / p(score | spoof):
at 0 both are equally likely, and the threshold of any prior and costs follows from
Bayes' rule instead of from the test set. `fit` is the affine logistic regression of
Brümmer et al. 2007 (FoCal), on scores that training has not seen (a dev split).

`min_cllr` and `reliability` use the best monotonic calibration there is for the scores
at hand (isotonic regression, the pool-adjacent-violators algorithm): what remains of
Cllr with it is discrimination, the rest is calibration.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy import ndarray as Array
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from mldg_jax import metrics
from mldg_jax.common.errors import UserError
from mldg_jax.common.files import replacing

CALIBRATION_FILE = "calibration.json"  # in a run's folder


class Calibration(NamedTuple):
    """log-likelihood ratio = scale · score + offset, in nats.

    Attributes:
      scale: > 0.
      offset: any.
      prior: the prior probability of bona fide that the fit was weighted for.
      n_bonafide, n_spoof: trials it was fitted on.
    """

    scale: float
    offset: float
    prior: float
    n_bonafide: int
    n_spoof: int


def fit_calibration(scores: Array, labels: Array, prior: float = 0.5) -> Calibration:
    """Fits the calibration that minimises cross-entropy at a prior.

    Args:
        scores: (trials,) finite, higher for bona fide, of a dev split.
        labels: (trials,) 1 bona fide, 0 spoof; both classes weigh as `prior` says,
            whatever their numbers.
        prior: of bona fide, in (0, 1). At 0.5 it is Cllr that is minimised.

    Raises:
        ValueError: scores or labels are invalid, or the prior is.
        UserError: the scores are inverted or constant, or a threshold separates the
            classes without an error, so that no finite scale is best.
    """
    scores, real = metrics.scored(scores, labels)
    metrics.require(0 < prior < 1, f"prior is {prior}, must be in (0, 1); try 0.5")
    bonafide, spoof = scores[real], scores[~real]
    if bonafide.min() > spoof.max():
        raise UserError(
            f"no error is made on the {scores.size:,} trials of the dev split (bona "
            f"fide from {bonafide.min():g}, spoof up to {spoof.max():g}), so no scale "
            "fits best; calibrate on more or harder trials"
        )
    centre, spread = scores.mean(), scores.std()
    if spread == 0:
        raise UserError(f"every score is {centre:g}: there is nothing to calibrate")
    weights = np.where(real, prior / bonafide.size, (1 - prior) / spoof.size)
    # No penalty: C is infinite. Scores of any scale become well conditioned.
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12)
    model.fit((scores[:, None] - centre) / spread, real, weights * scores.size)
    scale = float(model.coef_[0, 0] / spread)
    if scale <= 0:
        raise UserError(
            f"the fitted scale is {scale:g}: higher scores go with spoof on the dev "
            "split; higher must mean bona fide, so negate the scores"
        )
    offset = float(model.intercept_[0] - scale * centre - logit(prior))
    return Calibration(scale, offset, prior, bonafide.size, spoof.size)


def apply_calibration(calibration: Calibration, scores: Array) -> Array:
    """Scores of any shape as log-likelihood ratios in nats, float64."""
    return calibration.scale * np.asarray(scores, np.float64) + calibration.offset


def save_calibration(path: str | Path, calibration: Calibration) -> None:
    """Writes a small JSON file, whole or not at all."""
    with replacing(path) as part:
        part.write_text(json.dumps(calibration._asdict(), indent=1) + "\n")


def load_calibration(path: str | Path) -> Calibration:
    """Reads what `save` wrote.

    Raises:
        UserError: no such file, or not one of `save`.
    """
    try:
        found = Calibration(**json.loads(Path(path).read_text()))
        usable = found.scale > 0 and np.isfinite([found.scale, found.offset]).all()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}); calibrate again") from None
    except (ValueError, TypeError):
        usable = False
    if not usable:
        raise UserError(
            f"{path} is no calibration: it should hold {', '.join(Calibration._fields)}"
            " with a scale above 0; calibrate again"
        )
    return found


def min_cllr(bonafide_scores: Array, spoof_scores: Array) -> float:
    """Cllr in bits after the best monotonic calibration, in [0, 1]."""
    scores, real = _pooled(bonafide_scores, spoof_scores)
    posterior = _isotonic(scores, real)
    bits = -np.log2(posterior[real]).mean() - np.log2(1 - posterior[~real]).mean()
    return float(bits / 2)


def reliability(bonafide_scores: Array, spoof_scores: Array) -> tuple[Array, Array]:
    """What scores claim and what is the case, at equal priors: `(claimed, observed)`.

    Both are probabilities of bona fide, (k,), increasing. `claimed` is that of a score
    read as a log-likelihood ratio, 1 / (1 + e^−score); `observed` that of the trials
    about there, by isotonic regression (Dimitriadis et al. 2021, CORP): no bins to
    choose. A calibrated detector has them equal; k is 2 a step of the regression.
    """
    scores, real = _pooled(bonafide_scores, spoof_scores)
    order = np.argsort(scores, kind="stable")
    scores, observed = scores[order], _isotonic(scores, real)[order]
    change = np.flatnonzero(np.diff(observed) != 0)
    ends = np.unique(np.r_[0, change, change + 1, scores.size - 1])
    return expit(scores[ends]), observed[ends]


def _pooled(bonafide: Array, spoof: Array) -> tuple[Array, Array]:
    bonafide, spoof = metrics.class_scores(bonafide), metrics.class_scores(spoof)
    scores = np.concatenate([bonafide, spoof])
    return scores, np.arange(scores.size) < bonafide.size


def _isotonic(scores: Array, real: Array) -> Array:
    """Probability of bona fide at equal priors, (trials,), increasing in the score."""
    counts = np.where(real, np.sum(real), np.sum(~real))
    model = IsotonicRegression(y_min=0, y_max=1)
    return model.fit(scores, real.astype(np.float64), 1 / counts).predict(scores)
