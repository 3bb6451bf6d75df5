"""The Hessian of a loss in the trained parameters, which is never formed.

Hessian-vector products are reverse over reverse: AASIST's convolution has no forward
mode. The parameters are a few million, so a product costs some gradients and a vector
some megabytes.
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
      vectors: (parameters, k), orthonormal.
      residual: (k,) ‖Hv − λv‖, what is left of the iteration's error.
    """

    values: np.ndarray
    vectors: np.ndarray
    residual: np.ndarray


class Density(NamedTuple):
    """A Hessian's spectral density as weighted points, from ``spectral_density``.

    Attributes:
      nodes: (probes, steps) float64, eigenvalues of each probe's Lanczos matrix.
      weights: (probes, steps) float64, non-negative; each row adds up to 1.
      size: number of parameters, so of eigenvalues.
    """

    nodes: np.ndarray
    weights: np.ndarray
    size: int

    def at(self, grid: np.ndarray, width: float) -> np.ndarray:
        """Density (points,) on a grid, smoothed by Gaussians of a standard deviation.

        It integrates to 1.
        """
        distance = (np.asarray(grid)[:, None] - self.nodes.ravel()) / width
        kernel = np.exp(-(distance**2) / 2) / (width * np.sqrt(2 * np.pi))
        return kernel @ self.weights.ravel() / len(self.nodes)

    def moment(self, power: int) -> float:
        """An estimate of tr(Hᵖ) / parameters."""
        return float((self.weights * self.nodes**power).sum() / len(self.nodes))


def hvp(loss_fn: Callable, trainable: Any, batch: Any, key: Any, vector: Any) -> Any:
    """The Hessian at ``trainable`` times a tree like it."""

    def along(parameters):
        gradient, _ = jax.grad(loss_fn, has_aux=True)(parameters, batch, key)
        return optax.tree.vdot(gradient, vector)

    return jax.grad(along)(trainable)


_hvp = jax.jit(hvp)


def hessian(
    loss_fn: Callable, trainable: Any, batch: Any, key: Any = None
) -> LinearOperator:
    """The Hessian as a linear operator on ``parameter_names.flatten``'s vectors.

    Args:
      loss_fn, key: see ``losses``; ``losses.one_by_one`` bounds the memory.
      trainable: where.
      batch: of the loss.
    """
    loss_fn = as_tree(loss_fn)
    size = sum(x.size for x in jax.tree.leaves(trainable))

    def multiply(vector):
        tree = parameter_names.unflatten(vector.ravel(), trainable)
        found = _hvp(loss_fn, trainable, batch, key, tree)
        return parameter_names.flatten(found).astype(np.float64)

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
    """The largest (or smallest, most negative) eigenvalues (ARPACK).

    Args:
      operator: from ``hessian``.
      k: how many, 1 … parameters − 1.
      smallest: the other end.
      tolerance: relative accuracy; in float32 no less than 1e-5 makes sense.
      iterations: at most so many restarts, each of about k + 20 products. Those that
        have not converged by then are left out.
      seed: of the start vector.
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
    """Spectral density by stochastic Lanczos quadrature.

    Golub and Welsch 1969; for networks Ghorbani et al. 2019 (arXiv 1901.10159).

    Args:
      operator: from ``hessian``.
      steps: Lanczos steps a probe, 1 … parameters; the quadrature is exact for
        moments of the probe up to 2 · steps − 1.
      probes: random start vectors, which are averaged over.
      seed: of the probes.
      progress: called after every product.
    """
    rng = np.random.default_rng(seed)
    nodes, weights = [], []
    for _ in range(probes):
        start = rng.normal(size=operator.shape[0])
        diagonal, beside = lanczos(operator, start, steps, progress)
        matrix = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
        found, vectors = np.linalg.eigh(matrix)
        missing = steps - len(found)  # the start vector's Krylov space was smaller
        nodes.append(np.pad(found, (0, missing)))
        weights.append(np.pad(vectors[0] ** 2, (0, missing)))
    return Density(np.array(nodes), np.array(weights), operator.shape[0])


def lanczos(
    operator: LinearOperator,
    start: np.ndarray,
    steps: int,
    progress: Callable[[], Any] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Lanczos tridiagonalisation with full reorthogonalisation, in float64.

    Keeps ``steps`` vectors. Ends early when the Krylov space is exhausted.

    Returns:
      The diagonal (k,) and the entries beside it (k − 1,), k ≤ steps.
    """
    basis = [start / np.linalg.norm(start)]
    diagonal, beside = [], []
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
        beside.append(norm)
        basis.append(y / norm)
    return np.array(diagonal), np.array(beside)
