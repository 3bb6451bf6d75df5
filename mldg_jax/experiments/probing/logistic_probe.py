"""A logistic regression on the means of frozen layers: about a thousand parameters."""

from typing import Any, NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from mldg_jax.data.schema import BONAFIDE

PENALTY = 3e-3
"""Weight of half the squared norm in the loss, for inputs of unit length. On DebSpoof
full the best layer is the same from 1e-3 to 1e-2."""
_TOLERANCE = 1e-5  # at 1e-4, error rates on DebSpoof differ by up to 0.2 points


class Probe(NamedTuple):
    """A fitted probe of k layers.

    Attributes:
      shift: (k, dim) float64, mean of the training recordings.
      scale: (k, dim) float64, 1 / standard deviation.
      weights: (k, dim) float64, of the standardised means.
      offset: of the score.
    """

    shift: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    offset: float

    def score(self, means: np.ndarray) -> np.ndarray:
        """Scores recordings.

        Args:
          means: (n, k, dim).

        Returns:
          (n,) float64, log odds with equal classes, higher for bona fide.
        """
        weights = self.scale * self.weights
        constant = self.offset - (self.shift * weights).sum()
        n = len(means)
        return means.reshape(n, -1).astype(np.float64) @ weights.ravel() + constant

    def as_head(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns parameters and statistics of the head ``linear`` of equal scores."""
        half = self.weights.reshape(-1, 1) / 2
        logits = {
            "kernel": np.concatenate([-half, half], axis=1).astype(np.float32),
            "bias": np.array([-self.offset / 2, self.offset / 2], np.float32),
        }
        stats = {"shift": self.shift, "scale": self.scale}
        return {"logits": logits}, {k: x.astype(np.float32) for k, x in stats.items()}


def fit(means: np.ndarray, labels: np.ndarray, penalty: float = PENALTY) -> Probe:
    """Fits a probe; both classes have the same weight, whatever their sizes.

    The inputs are standardised and divided by the square root of their number, so that
    the penalty means the same for one layer and for four.

    Args:
      means: (n, k, dim) float32, of the layers that are probed.
      labels: (n,), 1 bona fide, 0 spoof; both occur.
      penalty: L2, see ``PENALTY``; > 0.

    Returns:
      The probe that minimises the penalised cross-entropy.
    """
    n, inputs = len(means), means[0].size
    shift = means.mean(axis=0, dtype=np.float64)
    scale = 1 / (means.std(axis=0, dtype=np.float64) + 1e-5)
    unit = inputs**-0.5
    x = ((means - shift) * (scale * unit)).reshape(n, inputs).astype(np.float32)
    # Balanced weights sum to n, so that this C leaves the mean loss its weight of 1.
    model = LogisticRegression(
        C=1 / (penalty * n), class_weight="balanced", tol=_TOLERANCE, max_iter=2_000
    )
    # The products are small: several threads would mostly wait for each other.
    with threadpool_limits(1):
        model.fit(x, labels == BONAFIDE)
    weights = model.coef_[0].reshape(shift.shape) * unit
    return Probe(shift, scale, weights, float(model.intercept_[0]))
