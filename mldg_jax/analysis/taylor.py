"""The MLDG objective in parts, and the meta-gradient in both orders.

With α = inner_lr the objective of ``mldg.mldg`` is (Li et al. 2018, section 3)

    F(φ) + β G(φ − α F'(φ)) = F + β G − β α F'·G' + remainder,
    remainder = β α² / 2 · F'ᵀ G'' F' + O(α³).

The third part rewards attacks whose gradients agree. Where the remainder is as large as
it, the step is too long for that reading of MLDG.
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
    """The parts of the objective at several inner learning rates.

    Attributes:
      inner_lr: (n,) float64, α.
      beta: β.
      meta_train: F(φ), nats.
      meta_test: G(φ), nats.
      product: F'·G'.
      curvature: F'ᵀ G'' F'.
      objective: (n,) float64, F + β G(φ − α F').
      remainder: (n,) float64, what the first three parts leave of it.
      resolution: the rounding error of a remainder, nats: below some ten times this it
        is noise.
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
        """(n,) the third part, −β α F'·G'."""
        return -self.beta * self.inner_lr * self.product

    @property
    def predicted(self) -> np.ndarray:
        """(n,) the remainder's leading term, β α² / 2 · F'ᵀ G'' F'."""
        return self.beta * self.inner_lr**2 / 2 * self.curvature

    @property
    def slope(self) -> float:
        """d log |remainder| / d log α by least squares; 2 where the expansion holds.

        Of remainders ten times above ``resolution``; NaN with fewer than two of them.
        """
        clear = np.abs(self.remainder) > 10 * self.resolution
        if clear.sum() < 2:
            return float("nan")
        rates, left = self.inner_lr[clear], np.abs(self.remainder[clear])
        return float(np.polyfit(np.log(rates), np.log(left), 1)[0])


class Orders(NamedTuple):
    """The meta-gradient in first and in second order.

    Attributes:
      first, second: (parameters,) meta-gradients.
      leaves: where the parameters are.
      cosine: between the two.
      norm: ‖first‖ and ‖second‖.
      difference: ‖second − first‖ / ‖second‖; the difference is −α β F'' G'(φ').
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
    """Takes the objective of ``mldg.mldg`` (one inner step) apart.

    Args:
      loss_fn: see ``losses``.
      trainable: φ.
      episode: ``{"meta_train": batch, "meta_test": batch}``.
      key: PRNG key; F and G get the keys that the objective would give them.
      inner_lr: the rates α, each > 0.
      beta: β.
    """
    rates = np.asarray(inner_lr, np.float64)
    loss_fn = as_tree(loss_fn)
    f, g, product, bend, at_rates = _parts(
        loss_fn, trainable, episode, key, jnp.asarray(rates)
    )
    f, g, product, bend = (float(x) for x in (f, g, product, bend))
    at_rates = np.asarray(at_rates)
    resolution = beta * float(np.finfo(at_rates.dtype).eps) * max(abs(g), 1.0)
    at_rates = at_rates.astype(np.float64)
    remainder = beta * (at_rates - g + rates * product)
    objective = f + beta * at_rates
    return Taylor(rates, beta, f, g, product, bend, objective, remainder, resolution)


@jax.jit
def _parts(loss_fn, trainable, episode, key, rates):
    train_key, test_key = jax.random.split(key)
    train, test = episode["meta_train"], episode["meta_test"]
    value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)
    (f, _), f_grad = value_and_grad(trainable, train, train_key)
    (g, _), g_grad = value_and_grad(trainable, test, test_key)
    bent = hvp(loss_fn, trainable, test, test_key, f_grad)

    def after(rate):
        adapted = jax.tree.map(
            lambda x, d: x - rate.astype(x.dtype) * d, trainable, f_grad
        )
        return loss_fn(adapted, test, test_key)[0]

    at_rates = jax.lax.map(after, rates)
    product, bend = optax.tree.vdot(f_grad, g_grad), optax.tree.vdot(f_grad, bent)
    return f, g, product, bend, at_rates


def compare_orders(
    loss_fn: Callable,
    trainable: Any,
    episode: Any,
    key: Any,
    *,
    inner_lr: float,
    beta: float = 1.0,
) -> Orders:
    """Compares the two meta-gradients of one episode; arguments as ``decompose``."""
    first, second = _both(as_tree(loss_fn), trainable, episode, key, inner_lr, beta)
    leaves = parameter_names.leaves(trainable)
    first, second = (
        parameter_names.flatten(x).astype(np.float64) for x in (first, second)
    )
    parts = [
        _compare(first[x.start : x.stop], second[x.start : x.stop]) for x in leaves
    ]
    cosine, of_first, of_second = _compare(first, second)
    norm = of_first, of_second
    difference = float(np.linalg.norm(second - first) / of_second)
    by_block = parameter_names.arrange(leaves, parts)
    return Orders(first, second, leaves, cosine, norm, difference, by_block)


@jax.jit
def _both(loss_fn, trainable, episode, key, inner_lr, beta):
    def gradient(order):
        objective = mldg.mldg(loss_fn, inner_lr=inner_lr, beta=beta, order=order)
        return jax.grad(objective, has_aux=True)(trainable, episode, key)[0]

    return gradient("first"), gradient("second")


def _compare(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Cosine (NaN where one vanishes) and both norms."""
    norms = float(np.linalg.norm(x)), float(np.linalg.norm(y))
    product = norms[0] * norms[1]
    return (float(x @ y) / product if product else float("nan"), *norms)
