"""Gradients by attack against a loop over attacks, and against numpy."""

import jax
import numpy as np
import pytest

from mldg_jax import mldg
from mldg_jax.analysis import example_gradients, gradients, losses, parameter_names

pytestmark = pytest.mark.usefixtures("float64")


def loop(problem):
    """Computes the loss and gradient of every attack, one at a time."""
    evaluate = jax.jit(jax.value_and_grad(problem.loss, has_aux=True))
    found = []
    for i in range(len(problem.examples.attacks)):
        batch = {k: v[i : i + 1] for k, v in problem.batch.items()}
        (loss, _), gradient = evaluate(problem.trainable, batch)
        found.append((float(loss), parameter_names.flatten(gradient)))
    return [np.array(x) for x in zip(*found, strict=True)]


@pytest.fixture(scope="module")
def by_attack(problem):
    with jax.enable_x64(True):
        attacks = problem.examples.attacks
        return gradients.per_attack(
            problem.loss, problem.trainable, problem.batch, attacks
        )


@pytest.mark.parametrize("chunk", [None, 1, 4])
def test_one_pass_equals_a_loop_over_attacks(problem, chunk):
    attacks = problem.examples.attacks
    found = gradients.per_attack(
        problem.loss, problem.trainable, problem.batch, attacks, chunk=chunk
    )
    loss, matrix = loop(problem)
    np.testing.assert_allclose(found.loss, loss, rtol=1e-12)
    np.testing.assert_allclose(found.matrix, matrix, rtol=0, atol=1e-13)
    assert found.names == ("A01", "A02", "A03", "A04", "A05", "A06")
    assert np.abs(matrix).max() > 1e-3


def test_the_mean_over_attacks_is_the_gradient_of_the_whole_batch(problem, by_attack):
    evaluate = jax.jit(jax.value_and_grad(problem.loss, has_aux=True))
    (loss, aux), gradient = evaluate(problem.trainable, problem.batch)
    assert by_attack.loss.mean() == pytest.approx(float(loss), rel=1e-12)
    np.testing.assert_allclose(by_attack.loss, aux["by_domain"], rtol=1e-12)
    np.testing.assert_allclose(
        by_attack.matrix.mean(0), parameter_names.flatten(gradient), rtol=0, atol=1e-14
    )


def test_any_objective_over_several_episodes(problem):
    """MLDG, with each attack held out in turn."""
    objective = mldg.mldg(problem.loss, inner_lr=0.1)
    folds = [problem.examples.episode([i]) for i in range(3)]
    episodes = jax.tree.map(lambda *x: np.stack(x), *folds)
    names = problem.examples.attacks[:3]
    found = gradients.per_batch(
        objective, problem.trainable, episodes, names, key=jax.random.key(0), chunk=2
    )
    gradient = jax.jit(jax.grad(objective, has_aux=True))
    for row, fold in zip(found.matrix, folds, strict=True):
        one = gradient(problem.trainable, fold, jax.random.key(0))[0]
        np.testing.assert_allclose(
            row, parameter_names.flatten(one), rtol=0, atol=1e-12
        )


def test_similarities_are_numpys(by_attack):
    whole = gradients.similarity(by_attack)
    np.testing.assert_allclose(whole.inner, by_attack.matrix @ by_attack.matrix.T)
    norm = np.linalg.norm(by_attack.matrix, axis=1)
    np.testing.assert_allclose(
        whole.cosine, whole.inner / np.outer(norm, norm), atol=1e-12
    )
    assert np.ptp(whole.cosine) > 0.05


def test_similarities_by_block_are_those_of_the_named_leaves(problem, by_attack):
    inner, cosine = gradients.similarity_by_block(by_attack)
    assert inner.layers == (0,) and inner.factors == ("A", "B")
    assert inner.projections == ("query", "key", "value", "out")
    stacked = jax.tree.map(
        lambda *x: np.stack(x),
        *(
            parameter_names.unflatten(row, problem.trainable)
            for row in loop(problem)[1]
        ),
    )
    attention = stacked["frontend"]["layers_0"]["attention"]
    for p, projection in enumerate(inner.projections):
        for f, name in enumerate(("lora_a", "lora_b")):
            rows = np.asarray(attention[projection][name]).reshape(6, -1)
            np.testing.assert_allclose(inner.values[0, p, f], rows @ rows.T, atol=1e-15)
            np.testing.assert_allclose(
                cosine.values[0, p, f], 1 - _distance(rows), atol=1e-10
            )
    rest = gradients.similarity_of_rest(by_attack)
    np.testing.assert_allclose(
        inner.values.sum(axis=(0, 1, 2)) + rest.inner,
        gradients.similarity(by_attack).inner,
        rtol=1e-12,
    )


def _distance(rows):
    from scipy.spatial.distance import cdist

    return cdist(rows, rows, "cosine")


def test_domains_one_by_one_have_the_same_derivatives(problem):
    sequential = losses.one_by_one(problem.loss)
    whole, parts = (
        jax.jit(jax.value_and_grad(f, has_aux=True))(
            problem.trainable, problem.batch, None
        )
        for f in (problem.loss, sequential)
    )
    assert float(parts[0][0]) == pytest.approx(float(whole[0][0]), rel=1e-12)
    np.testing.assert_allclose(
        parameter_names.flatten(parts[1]),
        parameter_names.flatten(whole[1]),
        rtol=0,
        atol=1e-14,
    )


def test_flatten_and_unflatten(problem):
    vector = parameter_names.flatten(problem.trainable)
    back = parameter_names.unflatten(vector, problem.trainable)
    jax.tree.map(np.testing.assert_array_equal, back, problem.trainable)
    leaf = next(x for x in parameter_names.leaves(problem.trainable) if x.factor == "B")
    owner = problem.trainable["frontend"]["layers_0"]["attention"][leaf.projection]
    np.testing.assert_array_equal(
        vector[leaf.start : leaf.stop], np.ravel(owner["lora_b"])
    )


def per_example(problem, batch):
    """Computes the gradients (examples, parameters) in a loop."""
    gradient = jax.jit(jax.grad(lambda p, b: problem.loss(p, b)[0]))
    found = []
    for i, j in np.ndindex(*batch["label"].shape):
        one = {k: v[i : i + 1, j : j + 1] for k, v in batch.items()}
        found.append(parameter_names.flatten(gradient(problem.trainable, one)))
    return np.array(found)


@pytest.mark.parametrize("chunk", [1, 5])
def test_fisher_and_noise_scale_are_those_of_a_loop_over_examples(problem, chunk):
    batch = problem.examples.spoof.batch
    found = example_gradients.moments(
        problem.loss, problem.trainable, batch, chunk=chunk
    )
    each = per_example(problem, batch)
    assert found.count == len(each) == 12
    np.testing.assert_allclose(
        parameter_names.flatten(found.mean), each.mean(0), atol=1e-15
    )
    np.testing.assert_allclose(
        parameter_names.flatten(found.square), (each**2).mean(0), atol=1e-15
    )
    noise = example_gradients.noise_scale(found)
    variance, signal = unbiased(each)
    assert noise.variance == pytest.approx(variance, rel=1e-8)
    assert noise.signal == pytest.approx(signal, rel=1e-8) and signal > 0
    assert noise.scale == pytest.approx(variance / signal, rel=1e-8)
    by_block = example_gradients.noise_by_block(found)
    leaves = parameter_names.leaves(problem.trainable)
    (leaf,) = (x for x in leaves if (x.projection, x.factor) == ("value", "B"))
    variance, signal = unbiased(each[:, leaf.start : leaf.stop])
    assert by_block.values[0, 2, 1] == pytest.approx(variance / signal, rel=1e-8)


def unbiased(each):
    """Returns tr Σ, and |G|² as the mean product of two different gradients."""
    n, products = len(each), each @ each.T
    pairs = (products.sum() - np.trace(products)) / (n * (n - 1))
    return each.var(0, ddof=1).sum(), pairs


def test_a_gradient_that_drowns_in_noise_has_an_infinite_scale():
    found = example_gradients.noise_from_batches(4.0, 1.0, sizes=(1, 2))
    assert found.signal == -2 and found.scale == np.inf


def test_noise_scale_of_two_batch_sizes_is_that_of_the_distribution():
    """Gaussian gradients with known mean and covariance."""
    rng = np.random.default_rng(0)
    mean, deviation = np.array([1.0, -2.0, 0.5]), np.array([3.0, 1.0, 2.0])
    draws = mean + deviation * rng.normal(size=(200_000, 3))

    def squared_norm(size):
        means = draws.reshape(-1, size, 3).mean(axis=1)
        return (means**2).sum(axis=1).mean()

    sizes = 4, 32
    found = example_gradients.noise_from_batches(*map(squared_norm, sizes), sizes=sizes)
    assert found.signal == pytest.approx(5.25, rel=0.02)
    assert found.variance == pytest.approx(14.0, rel=0.02)
    assert found.scale == pytest.approx(14 / 5.25, rel=0.03)
