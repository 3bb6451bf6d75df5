"""Taylor expansion of the MLDG objective, and the meta-gradient in both orders.

With α = inner_lr the objective of ``mldg.mldg`` is (Li et al. 2018, section 3)

    F(φ) + β G(φ − α F'(φ)) = F + β G − β α F'·G' + remainder,
    remainder = β α² / 2 · F'ᵀ G'' F' + O(α³).

The third term rewards attacks whose gradients agree. If the remainder is as large as
this term, the inner step is too long for this interpretation of MLDG.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mldg_jax import mldg
from mldg_jax.analysis import parameter_names
from mldg_jax.analysis.curvature import hvp
from mldg_jax.analysis.losses import as_tree


class Taylor(NamedTuple):
    """The terms of the objective's expansion at several inner learning rates.

    Attributes:
      inner_lr: (n,) float64, inner learning rates α.
      beta: weight β of the meta-test loss.
      meta_train: F(φ), nats.
      meta_test: G(φ), nats.
      product: F'·G'.
      curvature: F'ᵀ G'' F'.
      objective: (n,) float64, F + β G(φ − α F'), nats.
      remainder: (n,) float64, the objective minus its first three terms, nats.
      resolution: rounding error of the remainder, nats; a remainder below about ten
        times this value is noise.
    """

    inner_lr: np.ndarray
    beta: float
    meta_train: float
    meta_test: float
    product: float
    curvature: float
    objective: np.ndarray
    remainder: np.ndarray
    resolution: float

    @property
    def alignment(self) -> np.ndarray:
        """Third term of the expansion, −β α F'·G', (n,) float64, nats."""
        return -self.beta * self.inner_lr * self.product

    @property
    def predicted(self) -> np.ndarray:
        """Leading term of the remainder, β α² / 2 · F'ᵀ G'' F', (n,) float64, nats."""
        return self.beta * self.inner_lr**2 / 2 * self.curvature

    @property
    def slope(self) -> float:
        """Slope of ``log |remainder|`` over ``log α``; 2 if the expansion holds.

        Fitted by least squares to the remainders above ten times ``resolution``; NaN if
        there are fewer than two.
        """
        clear = np.abs(self.remainder) > 10 * self.resolution
        if clear.sum() < 2:
            return float("nan")
        rates, size = self.inner_lr[clear], np.abs(self.remainder[clear])
        return float(np.polyfit(np.log(rates), np.log(size), 1)[0])


class Orders(NamedTuple):
    """First-order and second-order meta-gradient of one episode.

    Attributes:
      first: (parameters,) float64, first-order meta-gradient.
      second: (parameters,) float64, second-order meta-gradient.
      leaves: ranges of the entries that belong to each parameter array.
      cosine: cosine between ``first`` and ``second``.
      norm: ‖first‖ and ‖second‖.
      difference: ‖second − first‖ / ‖second‖, where second − first = −α β F'' G'(φ').
      by_block: ``values`` (layers, projections, factors, 3): cosine, ‖first‖, ‖second‖.
    """

    first: np.ndarray
    second: np.ndarray
    leaves: tuple[parameter_names.Leaf, ...]
    cosine: float
    norm: tuple[float, float]
    difference: float
    by_block: parameter_names.Blocks


def decompose(
    loss_fn: Callable,
    trainable: Any,
    episode: Any,
    key: Any,
    *,
    inner_lr: Sequence[float] | np.ndarray,
    beta: float = 1.0,
) -> Taylor:
    """Decomposes the objective of ``mldg.mldg`` with one inner step.

    Args:
      loss_fn: a loss; see ``losses``.
      trainable: φ.
      episode: ``{"meta_train": batch, "meta_test": batch}``.
      key: PRNG key, split between F and G as the objective does.
      inner_lr: (n,) inner learning rates α, each > 0.
      beta: weight β of the meta-test loss.

    Returns:
      The terms of the expansion.
    """
    rates = np.asarray(inner_lr, np.float64)
    loss_fn = as_tree(loss_fn)
    *scalars, adapted_g = _terms(loss_fn, trainable, episode, key, jnp.asarray(rates))
    f, g, product, curvature = (float(x) for x in scalars)
    adapted_g = np.asarray(adapted_g)
    resolution = beta * float(np.finfo(adapted_g.dtype).eps) * max(abs(g), 1.0)
    adapted_g = adapted_g.astype(np.float64)
    remainder = beta * (adapted_g - g + rates * product)
    objective = f + beta * adapted_g
    return Taylor(
        rates, beta, f, g, product, curvature, objective, remainder, resolution
    )


@jax.jit
def _terms(loss_fn, trainable, episode, key, rates):
    """Returns F, G, F'·G', F'ᵀ G'' F', and G(φ − α F') at every rate."""
    train_key, test_key = jax.random.split(key)
    train, test = episode["meta_train"], episode["meta_test"]
    value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)
    (f, _), f_grad = value_and_grad(trainable, train, train_key)
    (g, _), g_grad = value_and_grad(trainable, test, test_key)
    g_hvp = hvp(loss_fn, trainable, test, test_key, f_grad)

    def adapted_loss(rate):
        adapted = jax.tree.map(
            lambda x, d: x - rate.astype(x.dtype) * d, trainable, f_grad
        )
        return loss_fn(adapted, test, test_key)[0]

    # One rate at a time: vmap would hold an adapted copy of φ for each.
    adapted_g = jax.lax.map(adapted_loss, rates)
    product, curvature = optax.tree.vdot(f_grad, g_grad), optax.tree.vdot(f_grad, g_hvp)
    return f, g, product, curvature, adapted_g


def compare_orders(
    loss_fn: Callable,
    trainable: Any,
    episode: Any,
    key: Any,
    *,
    inner_lr: float,
    beta: float = 1.0,
) -> Orders:
    """Compares the first-order and the second-order meta-gradient of one episode.

    Args:
      loss_fn: a loss; see ``losses``.
      trainable: φ.
      episode: ``{"meta_train": batch, "meta_test": batch}``.
      key: PRNG key of the objective.
      inner_lr: inner learning rate α.
      beta: weight β of the meta-test loss.

    Returns:
      Both meta-gradients and how far they agree, overall and by block.
    """
    first, second = _meta_gradients(
        as_tree(loss_fn), trainable, episode, key, inner_lr, beta
    )
    leaves = parameter_names.leaves(trainable)
    first, second = (
        parameter_names.flatten(x).astype(np.float64) for x in (first, second)
    )
    by_leaf = [
        _compare(first[x.start : x.stop], second[x.start : x.stop]) for x in leaves
    ]
    cosine, first_norm, second_norm = _compare(first, second)
    norm = first_norm, second_norm
    difference = float(np.linalg.norm(second - first) / second_norm)
    by_block = parameter_names.arrange(leaves, by_leaf)
    return Orders(first, second, leaves, cosine, norm, difference, by_block)


@jax.jit
def _meta_gradients(loss_fn, trainable, episode, key, inner_lr, beta):
    def gradient(order):
        objective = mldg.mldg(loss_fn, inner_lr=inner_lr, beta=beta, order=order)
        return jax.grad(objective, has_aux=True)(trainable, episode, key)[0]

    return gradient("first"), gradient("second")


def _compare(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Returns the cosine of two vectors (NaN if one is zero) and their norms."""
    norms = float(np.linalg.norm(x)), float(np.linalg.norm(y))
    product = norms[0] * norms[1]
    return (float(x @ y) / product if product else float("nan"), *norms)
