"""Adjusted p-values: their properties, by hand, and the rate of false rejections."""

import numpy as np
import pytest

from mldg_jax.scoring.multiple_comparisons import max_t


def differences(rng, systems, r=500, n=40, gap=0.0):
    """Returns the differences of all pairs of correlated means, and replicates."""
    values = rng.normal(size=(systems, n)) + rng.normal(size=n)
    values[0] += gap
    drawn = rng.integers(n, size=(r, n))
    means = values[:, drawn].mean(axis=2)
    a, b = np.triu_indices(systems, 1)
    points = values.mean(axis=1)
    return points[a] - points[b], means[a] - means[b]


@pytest.mark.parametrize("seed", range(20))
def test_adjusted_p_is_not_below_the_unadjusted(seed):
    rng = np.random.default_rng(seed)
    points, replicates = differences(rng, rng.integers(2, 6), gap=rng.uniform(0, 1))
    adjusted = max_t(points, replicates)
    alone = np.concatenate(
        [max_t(points[i : i + 1], replicates[i : i + 1]) for i in range(len(points))]
    )
    assert np.all(adjusted >= alone) and np.all(adjusted <= 1) and np.all(adjusted > 0)
    # A pair alone: the share of replicates as far from the point as the point from 0.
    count = np.sum(np.abs(replicates - points[:, None]) >= abs(points)[:, None], axis=1)
    np.testing.assert_allclose(alone, (1 + count) / (1 + 500))
    # In the order of |T|.
    order = np.argsort(-np.abs(points) / replicates.std(axis=1))
    assert np.all(np.diff(adjusted[order]) >= 0)
    np.testing.assert_array_equal(adjusted, max_t(-7 * points, -7 * replicates))


def test_by_hand():
    replicates = np.array([[-1.0, 0, 1, 2], [4, 4, 4, 4], [np.nan, 0, 0, 0]])
    # Centred at 0.5: 1.5, 0.5, 0.5, 1.5; all are below 9.
    assert max_t(np.array([0.5]), replicates[:1]) == (1 + 4) / 5
    assert max_t(np.array([9.0]), replicates[:1] + 8.5) == 1 / 5
    # Two equal systems, and two that always differ alike.
    np.testing.assert_array_equal(max_t(np.zeros(2), np.zeros((2, 9))), 1)
    assert max_t(np.array([4.0]), replicates[1:2]) == 1 / 5
    # The replicate that is NaN for one pair is dropped for all.
    assert max_t(np.zeros(2), replicates[[0, 2]])[0] == 1


@pytest.mark.parametrize(
    ("points", "replicates", "message"),
    [
        (np.zeros(2), np.zeros((3, 9)), r"shape \(2,\) and replicates \(3, 9\)"),
        (np.zeros(1), np.full((1, 9), np.nan), "0 of 9 replicates are defined"),
    ],
)
def test_bad_input_is_named(points, replicates, message):
    with pytest.raises(ValueError, match=message):
        max_t(points, replicates)


def test_few_false_rejections_among_all_pairs():
    """Five equal systems, 400 times: with 10 pairs, unadjusted tests often reject."""
    rng = np.random.default_rng(0)
    alone = adjusted = 0
    for _ in range(400):
        points, replicates = differences(rng, 5, r=300)
        p = [
            max_t(x[None], y[None])[0] for x, y in zip(points, replicates, strict=True)
        ]
        alone += min(p) <= 0.05
        adjusted += max_t(points, replicates).min() <= 0.05
    assert 0.02 <= adjusted / 400 <= 0.09
    assert alone / 400 > 0.2
