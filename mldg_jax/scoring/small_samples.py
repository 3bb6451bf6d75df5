"""Percentile intervals and p-values, corrected for few clusters.

The percentile interval of n clusters is too short if n is small: the variance of the
replicates is (n − 1) / n of that of the estimate, and their quantiles are those of a
normal variable where those of Student's t would be right. The *expanded* percentile
interval takes percentiles further out, such that for a mean it is about the t interval
(Hesterberg 2015, "What teachers should know about the bootstrap"). Like any percentile
interval it stays within the range of the statistic and needs no standard error.
"""

import numpy as np
from scipy.stats import norm, t


def level(coverage: float, n: int) -> float:
    """Returns the level at which to take percentiles.

    Args:
      coverage: that the interval shall have, in (0, 1).
      n: number of clusters, ≥ 2.

    Returns:
      A level above ``coverage``, below 1.
    """
    widest = t.ppf((1 + coverage) / 2, n - 1) * np.sqrt(n / (n - 1))
    return float(min(2 * norm.cdf(widest) - 1, np.nextafter(1, 0)))


def p_value(p: float | np.ndarray, n: int) -> np.ndarray:
    """Corrects two-sided p-values alike: p ≤ 1 − coverage outside the interval.

    Args:
      p: from percentiles, in (0, 1], of any shape.
      n: number of clusters, ≥ 2.

    Returns:
      p-values of the same shape, none of them below ``p``.
    """
    z = norm.isf(np.asarray(p, float) / 2)
    return 2 * t.sf(z * np.sqrt((n - 1) / n), n - 1)
