"""Tests of the meta-gradient through a whole detector with LoRA and AASIST."""

import jax
import numpy as np
import optax
import pytest

from mldg_jax import mldg
from mldg_jax.models.detector import create_detector
from mldg_jax.models.loss import cross_entropy
from mldg_jax.training.build import build_state
from mldg_jax.training.config_files import read_config_file
from tests import small

KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def whole_detector():
    """Yields φ of a detector in float64 and a compiled function.

    The function ``evaluate(φ, inner_lr)`` returns the value, aux and second-order
    gradient of an episode. The detector has LoRA, attention and AASIST.
    """
    with jax.enable_x64(True):
        config = read_config_file("configs/xlsr.py:mldg2,smoke")
        detector = create_detector(config.model)
        waveform = np.ones((1, config.crop_samples), np.float32)
        frontend = detector.frontend.init(jax.random.key(1), waveform)["params"]
        state, frozen = build_state(config, detector, frontend, waveform)
        state, frozen = small.double((state, frozen))
        corpus, domains = small.domains()
        drawn = small.sample_episode(domains, 0, examples_per_attack=2)
        episode = small.double(
            small.episodes.load_episode(drawn, corpus, samples=config.crop_samples)
        )

        @jax.jit
        def run(trainable, inner_lr, batch_stats, frozen, episode):
            loss_fn = cross_entropy(detector, batch_stats, frozen)
            objective = mldg.mldg(loss_fn, inner_lr=inner_lr, order="second")
            return jax.value_and_grad(objective, has_aux=True)(trainable, episode, KEY)

        def evaluate(trainable, inner_lr):
            (value, aux), gradient = run(
                trainable, inner_lr, state.batch_stats, frozen, episode
            )
            return value, aux, gradient

        yield small.fill(state.trainable), evaluate


def along(tree, direction, t):
    return jax.tree.map(lambda x, d: x + t * d, tree, direction)


def test_finite_differences_through_the_whole_detector(whole_detector):
    """Checks the second-order meta-gradient along its own direction."""
    trainable, evaluate = whole_detector
    with jax.enable_x64(True):
        _, _, gradient = evaluate(trainable, 0.01)
        norm = optax.tree.norm(gradient)
        direction = jax.tree.map(lambda g: g / norm, gradient)
        above, below = (
            evaluate(along(trainable, direction, t), 0.01)[0] for t in (1e-5, -1e-5)
        )
        assert (above - below) / 2e-5 == pytest.approx(float(norm), rel=1e-6)


def test_taylor_remainder_of_the_whole_detector(whole_detector):
    """Checks that G(φ') − [G(φ) − α F'·G'] shrinks with α²."""
    trainable, evaluate = whole_detector
    with jax.enable_x64(True):
        # at inner_lr = 0 the meta-gradient is F' + G'
        _, at_zero, both = evaluate(trainable, 0.0)
        f_grad = at_zero.inner_gradient
        inner = optax.tree.vdot(f_grad, along(both, f_grad, -1))
        rates = np.array([1e-5, 1e-6])  # larger rates cross kinks of max-pooling
        remainders = [
            abs(
                evaluate(trainable, float(rate))[1].meta_test_loss
                - (at_zero.meta_test_loss - rate * inner)
            )
            for rate in rates
        ]
        slope = np.diff(np.log(remainders)) / np.diff(np.log(rates))
        assert slope == pytest.approx(2.0, abs=0.1)
