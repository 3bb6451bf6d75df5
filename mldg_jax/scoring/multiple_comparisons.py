"""p-values of several paired differences, adjusted for their number."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy import ndarray as Array

from mldg_jax.common.error_rates import Difference
from mldg_jax.metrics import require
from mldg_jax.scoring import bootstrap, small_samples


def differences(
    points: Iterable[float],
    replicates: Iterable[np.ndarray],
    level: float,
    fewest: int | None,
) -> list[Difference]:
    """Returns differences with p-values that are adjusted for their number.

    Args:
      points: the differences.
      replicates: of each, (r,), paired.
      level, fewest: as for ``bootstrap.interval``.

    Returns:
      The differences. The adjusted p-value is that of ``max_t``,
      or the unadjusted one (of another test: percentiles) if this is larger; None if
      there is one difference.
    """
    points, replicates = list(points), list(replicates)
    unadjusted = [
        bootstrap.difference(point, values, level, fewest)
        for point, values in zip(points, replicates, strict=True)
    ]
    if len(points) < 2:
        return unadjusted
    p = max_t(np.array(points), np.stack(replicates))
    p = p if fewest is None else small_samples.p_value(p, fewest)
    return [
        replace(difference, p_adjusted=max(difference.p, float(value)))
        for difference, value in zip(unadjusted, p, strict=True)
    ]


def max_t(points: Array, replicates: Array) -> Array:
    """Computes p-values adjusted for all pairs, by the maximum of |T| (single step).

    T is a difference divided by the standard deviation of its bootstrap replicates. The
    adjusted p-value is the share of replicates whose largest |T| over the pairs, each
    centred at its observed difference, reaches the observed |T|. It controls the
    probability of any false rejection among the pairs and, unlike Bonferroni, uses
    their correlation (Westfall and Young 1993, 2.3). One is added to both counts, so
    that it is never 0.

    Args:
      points: (pairs,) observed differences.
      replicates: (pairs, r) their paired bootstrap replicates; a replicate in which any
        is NaN is dropped.

    Returns:
      (pairs,) p-values in (0, 1]. A pair whose replicates are all equal to its
      difference has T = 0 if this is 0 (two equal systems), ∞ otherwise.

    Raises:
      ValueError: other shapes, or fewer than two replicates are defined.
    """
    points, replicates = np.asarray(points, float), np.asarray(replicates, float)
    require(
        replicates.ndim == 2 and points.shape == replicates.shape[:1],
        f"points have shape {points.shape} and replicates {replicates.shape}, must be "
        "(pairs,) and (pairs, r)",
    )
    defined = replicates[:, ~np.isnan(replicates).any(axis=0)]
    r = defined.shape[1]
    require(r >= 2, f"{r} of {replicates.shape[1]} replicates are defined, need 2")
    centred = np.abs(defined - points[:, None])
    sd = defined.std(axis=1, ddof=1)
    observed = _scaled(np.abs(points), sd)
    largest = _scaled(centred, sd[:, None]).max(axis=0, initial=0)
    return (1 + np.sum(largest >= observed[:, None], axis=1)) / (1 + r)


def _scaled(values: Array, sd: Array) -> Array:
    """Divides, with 0 / 0 = 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(values == 0, 0.0, values / sd)
