"""Corrections for few clusters, against Student's t."""

import numpy as np
import pytest
from scipy.stats import norm, t

from mldg_jax.scoring import bootstrap, small_samples


@pytest.mark.parametrize("n", [3, 7, 20, 1000])
def test_expanded_interval_of_a_mean_is_that_of_t(n):
    """The replicates of a mean are about normal, with (n − 1) / n of its variance."""
    se = 2.0
    replicates = norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    replicates *= se * np.sqrt((n - 1) / n)
    low, high = bootstrap.interval(replicates, 0.9, n)
    assert high == pytest.approx(se * t.ppf(0.95, n - 1), rel=0.01)
    assert low == pytest.approx(-high)
    p = 2 * norm.sf(high / replicates.std())  # on the edge of the interval
    assert small_samples.p_value(p, n) == pytest.approx(0.1, abs=0.002)


def test_p_is_corrected_upwards_and_consistent_with_the_level():
    p = np.array([1e-6, 0.01, 0.05, 0.5, 1.0])
    corrected = small_samples.p_value(p, 7)
    assert np.all(corrected >= p) and corrected[-1] == 1
    for coverage_wanted in (0.8, 0.95, 0.99):
        tail = 1 - small_samples.level(coverage_wanted, 7)
        assert small_samples.p_value(tail, 7) == pytest.approx(1 - coverage_wanted)
    assert small_samples.level(0.95, 2) < 1
