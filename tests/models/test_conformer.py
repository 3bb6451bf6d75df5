"""The conformer's convolution: causal, and the same in both forms."""

import jax
import numpy as np

from mldg_jax.models import conformer


def test_causal_convolution(float64):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 7, 3)), rng.normal(size=(4, 1, 3))
    expected = np.zeros_like(x)
    for t in range(7):
        for tap in range(4):
            if t - 3 + tap >= 0:
                expected[:, t] += x[:, t - 3 + tap] * kernel[tap, 0]
    for form in (conformer.causal_conv, conformer._tap_by_tap, conformer._grouped):
        np.testing.assert_allclose(form(x, kernel), expected, atol=1e-12)


def test_no_frame_sees_a_later_one():
    layer = conformer.ConformerLayer(heads=2, hidden=8, taps=3, left=2, right=1)
    x = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    params = layer.init(jax.random.key(0), x, 1)
    params["params"]["attention"]["out"]["kernel"] *= 0  # attention sees all frames
    other = np.where(np.arange(5)[:, None] < 3, x, -x)
    one, two = layer.apply(params, x, 1), layer.apply(params, other, 1)
    np.testing.assert_array_equal(one[:3], two[:3])
    assert np.abs(one[3:] - two[3:]).min(axis=1).max() > 0
