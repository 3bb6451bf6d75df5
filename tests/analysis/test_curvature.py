"""Hessian-vector products, eigenvalues and density against the dense Hessian."""

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.sparse.linalg import aslinearoperator

from mldg_jax.analysis import curvature, losses, parameter_names

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(scope="module")
def dense(problem):
    """Computes the dense Hessian, by forward over reverse."""
    with jax.enable_x64(True):
        vector, back = ravel_pytree(problem.trainable)

        @jax.jit
        def hessian(vector, loss, batch):
            return jax.hessian(lambda v: loss(back(v), batch)[0])(vector)

        return np.asarray(hessian(vector, problem.loss, problem.batch))


def operator(problem, loss=None):
    return curvature.hessian(loss or problem.loss, problem.trainable, problem.batch)


def test_products_are_those_of_the_dense_hessian(problem, dense):
    vector = np.random.default_rng(0).normal(size=len(dense))
    for loss in (problem.loss, losses.one_by_one(problem.loss)):
        found = operator(problem, loss).matvec(vector)
        np.testing.assert_allclose(found, dense @ vector, rtol=0, atol=1e-12)
    assert np.abs(dense).max() > 1e-2


@pytest.mark.parametrize("smallest", [False, True])
def test_extreme_eigenvalues_are_those_of_the_dense_hessian(problem, dense, smallest):
    found = curvature.eigenvalues(operator(problem), 3, smallest=smallest)
    exact = np.linalg.eigvalsh(dense)[::-1]
    expected = exact[-3:] if smallest else exact[:3]
    np.testing.assert_allclose(found.values, expected, rtol=1e-3)
    assert found.residual.max() < 1e-3 * np.abs(expected).max()
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(3), atol=1e-9)


def test_eigenvalues_that_did_not_converge_are_left_out():
    matrix = aslinearoperator(np.diag(1.0 - 1e-9 * np.arange(500)))
    found = curvature.eigenvalues(matrix, 5, tolerance=1e-14, iterations=1)
    assert len(found.values) < 5


def test_lanczos_with_all_steps_finds_the_whole_spectrum():
    """In the Krylov space of the start vector; one eigenvalue is twenty-fold."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(30, 30)))[0]
    exact = np.concatenate([np.zeros(20), np.geomspace(1e-3, 100, 10)])
    matrix = aslinearoperator(basis * exact @ basis.T)
    density = curvature.spectral_density(matrix, steps=30, probes=1)
    kept = density.nodes[density.weights > 1e-12]
    np.testing.assert_allclose(np.sort(kept)[1:], exact[20:], rtol=1e-6)
    assert abs(np.sort(kept)[0]) < 1e-10


def test_density_has_the_probes_moments(problem, dense):
    """The quadrature is exact for moments up to 2 · steps − 1."""
    found = curvature.spectral_density(operator(problem), steps=6, probes=3)
    np.testing.assert_allclose(found.weights.sum(axis=1), 1, rtol=1e-12)
    rng = np.random.default_rng(0)
    probes = [rng.normal(size=len(dense)) for _ in range(3)]
    for power in (1, 2, 5, 11):
        raised = np.linalg.matrix_power(dense, power)
        exact = np.mean([v @ raised @ v / (v @ v) for v in probes])
        assert found.moment(power) == pytest.approx(exact, rel=1e-8)


def test_density_is_a_density_and_finds_where_eigenvalues_are():
    exact = np.concatenate([np.zeros(180), np.full(20, 5.0)])
    matrix = aslinearoperator(np.diag(exact))
    found = curvature.spectral_density(matrix, steps=10, probes=20)
    grid = np.linspace(-3, 8, 1101)
    density = found.at(grid, width=0.2)
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=1e-3)
    above = np.trapezoid(density[grid > 2.5], grid[grid > 2.5])
    assert above == pytest.approx(0.1, abs=0.03)


def test_progress_is_told_of_every_product(problem):
    told = []
    curvature.spectral_density(
        operator(problem), steps=3, probes=2, progress=lambda: told.append(1)
    )
    assert len(told) == 6
    assert parameter_names.flatten(problem.trainable).size == operator(problem).shape[0]
