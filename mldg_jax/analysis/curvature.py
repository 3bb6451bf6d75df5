"""The Hessian of a loss in the trained parameters, through Hessian-vector products.

The products are reverse over reverse, because AASIST's convolution has no forward mode.
With a few million parameters, a product costs a few gradients and a vector takes some
megabytes; the Hessian itself is never formed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from mldg_jax.analysis import parameter_names
from mldg_jax.analysis.losses import as_tree


class Eigenvalues(NamedTuple):
    """Extreme eigenvalues of a Hessian.

    Attributes:
      values: (k,) float64, descending, nats per squared unit of the parameters.
      vectors: (parameters, k) float64, orthonormal columns.
      residual: (k,) float64, the remaining error ‖Hv − λv‖ of each pair.
    """

    values: np.ndarray
    vectors: np.ndarray
    residual: np.ndarray


class Density(NamedTuple):
    """The spectral density of a Hessian as weighted points.

    Attributes:
      nodes: (probes, steps) float64, eigenvalues of each probe's Lanczos matrix.
      weights: (probes, steps) float64, non-negative; each row sums to 1.
      size: number of parameters, which is the number of eigenvalues.
    """

    nodes: np.ndarray
    weights: np.ndarray
    size: int

    def at(self, grid: np.ndarray, width: float) -> np.ndarray:
        """Evaluates the density on a grid, smoothed by a Gaussian.

        Args:
          grid: (points,) eigenvalues.
          width: standard deviation of the Gaussian, in the units of ``grid``.

        Returns:
          (points,) float64; the density integrates to 1.
        """
        distance = (np.asarray(grid)[:, None] - self.nodes.ravel()) / width
        kernel = np.exp(-(distance**2) / 2) / (width * np.sqrt(2 * np.pi))
        return kernel @ self.weights.ravel() / len(self.nodes)

    def moment(self, power: int) -> float:
        """Estimates a moment of the spectrum, tr(Hᵖ) / ``size``.

        Args:
          power: the exponent p.

        Returns:
          The estimate, averaged over probes.
        """
        return float((self.weights * self.nodes**power).sum() / len(self.nodes))


def hvp(loss_fn: Callable, trainable: Any, batch: Any, key: Any, vector: Any) -> Any:
    """Multiplies the Hessian at ``trainable`` by a vector.

    Args:
      loss_fn: a loss; see ``losses``.
      trainable: the parameters.
      batch: the batch that the loss is computed on.
      key: PRNG key; None if the loss ignores it.
      vector: a tree like ``trainable``.

    Returns:
      The product, a tree like ``trainable``.
    """

    def along(parameters):
        gradient, _ = jax.grad(loss_fn, has_aux=True)(parameters, batch, key)
        return optax.tree.vdot(gradient, vector)

    return jax.grad(along)(trainable)


_hvp = jax.jit(hvp)


def hessian(
    loss_fn: Callable, trainable: Any, batch: Any, key: Any = None
) -> LinearOperator:
    """Returns the Hessian as a linear operator on flattened parameters.

    Args:
      loss_fn: a loss, see ``losses``; ``losses.one_by_one`` reduces its memory.
      trainable: the parameters at which the Hessian is taken.
      batch: the batch that the loss is computed on.
      key: PRNG key; None if the loss ignores it.

    Returns:
      A symmetric operator (parameters, parameters) that maps float64 vectors in the
      order of ``parameter_names.flatten``. Products are computed in the parameters'
      dtype.
    """
    loss_fn = as_tree(loss_fn)
    size = sum(x.size for x in jax.tree.leaves(trainable))

    def multiply(vector):
        tree = parameter_names.unflatten(vector.ravel(), trainable)
        product = _hvp(loss_fn, trainable, batch, key, tree)
        return parameter_names.flatten(product).astype(np.float64)

    return LinearOperator((size, size), matvec=multiply, dtype=np.float64)


def eigenvalues(
    operator: LinearOperator,
    k: int = 5,
    *,
    smallest: bool = False,
    tolerance: float = 1e-3,
    iterations: int = 20,
    seed: int = 0,
) -> Eigenvalues:
    """Computes the largest or smallest eigenvalues with ARPACK.

    Args:
      operator: from ``hessian``.
      k: number of eigenvalues, from 1 to parameters − 1.
      smallest: compute the smallest (most negative) eigenvalues instead.
      tolerance: relative accuracy; float32 does not support less than 1e-5.
      iterations: maximum number of restarts, each of about k + 20 products.
      seed: seed of the start vector.

    Returns:
      The eigenvalues that converged, at most k.
    """
    start = np.random.default_rng(seed).normal(size=operator.shape[0])
    which = "SA" if smallest else "LA"
    try:
        values, vectors = eigsh(
            operator, k, which=which, tol=tolerance, v0=start, maxiter=iterations
        )
    except ArpackNoConvergence as stopped:
        values, vectors = stopped.eigenvalues, stopped.eigenvectors
    order = np.argsort(values)[::-1]
    values, vectors = values[order], vectors[:, order]
    residual = [
        np.linalg.norm(operator.matvec(v) - x * v)
        for x, v in zip(values, vectors.T, strict=True)
    ]
    return Eigenvalues(values, vectors, np.array(residual))


def spectral_density(
    operator: LinearOperator,
    *,
    steps: int = 40,
    probes: int = 2,
    seed: int = 0,
    progress: Callable[[], Any] | None = None,
) -> Density:
    """Estimates the spectral density by stochastic Lanczos quadrature.

    The quadrature is due to Golub and Welsch 1969; Ghorbani et al. 2019 (arXiv
    1901.10159) apply it to neural networks.

    Args:
      operator: from ``hessian``.
      steps: Lanczos steps per probe, from 1 to parameters; the quadrature is exact for
        the probe's moments up to 2 · steps − 1.
      probes: number of random start vectors, over which the density is averaged.
      seed: seed of the probes.
      progress: called after every Hessian-vector product.

    Returns:
      The density as weighted points.
    """
    rng = np.random.default_rng(seed)
    nodes, weights = [], []
    for _ in range(probes):
        start = rng.normal(size=operator.shape[0])
        diagonal, off_diagonal = lanczos(operator, start, steps, progress)
        matrix = (
            np.diag(diagonal) + np.diag(off_diagonal, 1) + np.diag(off_diagonal, -1)
        )
        ritz_values, vectors = np.linalg.eigh(matrix)
        # Lanczos stops early if the Krylov space of the start vector is exhausted.
        missing = steps - len(ritz_values)
        nodes.append(np.pad(ritz_values, (0, missing)))
        weights.append(np.pad(vectors[0] ** 2, (0, missing)))
    return Density(np.array(nodes), np.array(weights), operator.shape[0])


def lanczos(
    operator: LinearOperator,
    start: np.ndarray,
    steps: int,
    progress: Callable[[], Any] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Tridiagonalises an operator by the Lanczos method, in float64.

    Reorthogonalises fully, for which it keeps up to ``steps`` vectors in memory.

    Args:
      operator: symmetric, (n, n).
      start: (n,) start vector, of any length but zero.
      steps: maximum number of steps; fewer if the Krylov space is exhausted.
      progress: called after every product.

    Returns:
      The diagonal (k,) and the off-diagonal entries (k − 1,), k ≤ steps.
    """
    basis = [start / np.linalg.norm(start)]
    diagonal, off_diagonal = [], []
    for _ in range(steps):
        y = operator.matvec(basis[-1])
        diagonal.append(basis[-1] @ y)
        for _ in range(2):  # twice is enough (Parlett 1980, section 6.9)
            for v in basis:
                y = y - (v @ y) * v
        if progress is not None:
            progress()
        norm = np.linalg.norm(y)
        if len(diagonal) == steps or norm < 1e-10 * np.max(np.abs(diagonal)):
            break
        off_diagonal.append(norm)
        basis.append(y / norm)
    return np.array(diagonal), np.array(off_diagonal)
