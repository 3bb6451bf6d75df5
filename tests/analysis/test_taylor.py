"""Taylor expansion of the MLDG objective through LoRA, attention and AASIST."""

import jax
import numpy as np
import pytest

from mldg_jax import lora, mldg
from mldg_jax.analysis import losses, parameter_names, taylor
from mldg_jax.models.aasist import AASISTHead
from mldg_jax.models.detector import Detector
from mldg_jax.training.build import build_state
from tests import small

KEY = jax.random.key(3)
SAMPLES = 6_000
RATES = (1e-5, 3e-6, 1e-6)  # larger ones cross kinks of max-pooling
pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(scope="module")
def whole():
    """Builds an evaluation loss, some φ and an episode; small front-end, real head."""
    config = small.config("model.lora.rank=2")
    head = AASISTHead(dim=12, channels=(3, 4))
    detector = Detector(small.detector().frontend, head)
    waveform = np.ones((1, SAMPLES), np.float32)
    frontend = jax.jit(detector.frontend.init)(jax.random.key(1), waveform)["params"]
    state, frozen = build_state(config, detector, frontend, waveform)
    corpus, domains = small.domains()
    drawn = small.sample_episode(domains, 0, examples_per_attack=2)
    cut = small.episodes.load_episode(drawn, corpus, samples=SAMPLES)
    with jax.enable_x64(True):
        state, frozen, cut = small.double((state, frozen, cut))
        loss = losses.evaluation(detector, state.batch_stats, frozen)
        return loss, small.fill(state.trainable), cut


@pytest.fixture(scope="module")
def parts(whole):
    with jax.enable_x64(True):
        return taylor.decompose(*whole, KEY, inner_lr=RATES, beta=0.7)


@pytest.fixture(scope="module")
def objective(whole):
    """Returns ``rate -> (value, aux)`` of ``mldg``, compiled once."""

    @jax.jit
    def run(loss, trainable, episode, rate):
        return mldg.mldg(loss, inner_lr=rate, beta=0.7)(trainable, episode, KEY)

    with jax.enable_x64(True):
        return lambda rate: run(*whole, rate)


def test_the_parts_add_up_to_the_objective_of_mldg(parts, objective):
    for i, rate in enumerate(RATES):
        value, aux = objective(rate)
        total = (
            parts.meta_train
            + 0.7 * parts.meta_test
            + parts.alignment[i]
            + parts.remainder[i]
        )
        assert abs(total - float(value)) < 1e-10
        assert abs(parts.objective[i] - float(value)) < 1e-10
        assert parts.meta_train == pytest.approx(float(aux.meta_train_loss))


def test_the_third_part_is_the_product_of_the_gradients(parts, objective):
    """By a central difference of the objective in the rate."""
    slope = (float(objective(1e-6)[0]) - float(objective(-1e-6)[0])) / 2e-6
    assert -0.7 * parts.product == pytest.approx(slope, rel=1e-6)
    assert abs(parts.product) > 1e-3


def test_the_remainder_shrinks_with_the_square_of_the_rate(parts):
    assert parts.slope == pytest.approx(2.0, abs=0.1)
    np.testing.assert_allclose(parts.remainder, parts.predicted, rtol=0.02)


def test_remainders_that_are_rounding_errors_are_left_out(parts):
    assert parts._replace(resolution=1.0).slope != parts.slope
    assert np.isnan(parts._replace(resolution=1.0).slope)


@pytest.fixture(scope="module")
def both(problem):
    """Computes ``Orders``, and ``jax.grad`` of ``mldg`` in both orders."""
    with jax.enable_x64(True):
        episode = problem.examples.episode([1, 4])
        options = {"inner_lr": 0.3, "beta": 0.7}
        gradients = [
            jax.jit(
                jax.grad(mldg.mldg(problem.loss, order=order, **options), has_aux=True)
            )(problem.trainable, episode, KEY)[0]
            for order in ("first", "second")
        ]
        found = taylor.compare_orders(
            problem.loss, problem.trainable, episode, KEY, **options
        )
        return found, gradients


def test_both_orders_are_those_of_mldg(both):
    found, gradients = both
    first, second = map(parameter_names.flatten, gradients)
    np.testing.assert_allclose(found.first, first, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.second, second, rtol=0, atol=1e-12)
    norms = np.linalg.norm(first), np.linalg.norm(second)
    assert found.norm == pytest.approx(norms)
    assert found.cosine == pytest.approx(first @ second / np.prod(norms))
    apart = np.linalg.norm(second - first) / norms[1]
    assert found.difference == pytest.approx(apart, rel=1e-9) and apart > 1e-4


def test_orders_by_block_are_those_of_the_named_leaf(both):
    found, gradients = both
    x, y = (
        np.ravel(g["frontend"]["layers_0"]["attention"]["value"][lora.A])
        for g in gradients
    )
    norms = np.linalg.norm(x), np.linalg.norm(y)
    np.testing.assert_allclose(
        found.by_block.values[0, 2, 0], [x @ y / np.prod(norms), *norms], rtol=1e-8
    )
