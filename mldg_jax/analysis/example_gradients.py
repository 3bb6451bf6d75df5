"""Gradients of single examples: their noise, and the empirical Fisher matrix.

All examples' gradients would not fit in memory, so what is wanted of them is added up
on the way.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mldg_jax.analysis import parameter_names
from mldg_jax.analysis.losses import as_tree


class Moments(NamedTuple):
    """Moments of the gradients of n examples; trees are like the parameters, float32.

    Attributes:
      count: n.
      mean: the mean gradient.
      square: the mean of the squared gradients: the diagonal of the empirical Fisher
        matrix, with the true labels (Kunstner et al. 2019 on what that is not).
    """

    count: int
    mean: Any
    square: Any


class NoiseScale(NamedTuple):
    """The simple gradient noise scale (McCandlish et al. 2018, arXiv 1812.06162).

    Attributes:
      variance: tr Σ, an unbiased estimate; Σ is the covariance of examples' gradients.
      signal: |G|², an unbiased estimate of the true gradient's squared norm; negative
        where noise drowns it.
      scale: tr Σ / |G|² in examples: far below it, a batch twice as large halves the
        noise of a step; far above it is wasted. inf where ``signal`` is not positive.
    """

    variance: np.ndarray
    signal: np.ndarray
    scale: np.ndarray


def moments(
    loss_fn: Callable, params: Any, batch: Any, *, key: Any = None, chunk: int = 1
) -> Moments:
    """Adds up the gradients of examples and their squares.

    Args:
      loss_fn: see ``losses``; given one example at a time as a batch (1, 1, …).
      params: the parameters to differentiate by.
      batch: leaves (domains, examples, …) or (examples, …) as the labels are.
      key: PRNG key, the same for every example; None where the loss ignores it.
      chunk: examples at once, ≥ 1. Memory is that of their gradients, and of two more.
    """
    lead = np.ndim(batch["label"])
    examples = jax.tree.map(
        lambda x: jnp.reshape(x, (-1, *jnp.shape(x)[lead:])),
        {name: batch[name] for name in ("waveform", "label")},
    )
    count = len(examples["label"])
    mean, square = sums(as_tree(loss_fn), params, examples, key, min(chunk, count))
    return Moments(count, *jax.tree.map(lambda x: x / count, (mean, square)))


@functools.partial(jax.jit, static_argnames="chunk")
def sums(loss_fn, params, examples, key, chunk):
    """Sums of the examples' gradients and of their squares; leaves (examples, …)."""

    def one(example):
        batch = jax.tree.map(lambda x: x[None, None], example)
        return jax.grad(lambda p: loss_fn(p, batch, key)[0])(params)

    def add(total, part):
        gradient = jax.vmap(one)(part)
        found = jax.tree.map(lambda g: (g.sum(0), jnp.square(g).sum(0)), gradient)
        pairs = jax.tree.transpose(
            jax.tree.structure(params), jax.tree.structure((0, 0)), found
        )
        return jax.tree.map(jnp.add, total, pairs), None

    zeros = jax.tree.map(jnp.zeros_like, params)
    count = len(examples["label"])
    whole = count // chunk * chunk
    parts = jax.tree.map(lambda x: x[:whole].reshape(-1, chunk, *x.shape[1:]), examples)
    total, _ = jax.lax.scan(add, (zeros, zeros), parts)
    if whole < count:
        total, _ = add(total, jax.tree.map(lambda x: x[whole:], examples))
    return total


def noise_scale(one: Moments) -> NoiseScale:
    """The noise scale of the whole gradient; its entries are scalars."""
    return _noise(one.count, *(x.sum() for x in _norms(one)))


def noise_by_block(one: Moments) -> parameter_names.Blocks:
    """The noise scale of every block, (layers, projections, factors), in examples."""
    found = _noise(one.count, *_norms(one))
    return parameter_names.arrange(parameter_names.leaves(one.mean), found.scale)


def noise_from_batches(
    small: float, large: float, *, sizes: tuple[float, float]
) -> NoiseScale:
    """The noise scale from the gradient norms of two batch sizes.

    Args:
      small, large: mean squared norms of gradients of small and of large batches, from
        the same examples.
      sizes: of a small and of a large batch, in examples.
    """
    b, B = sizes
    signal = (B * large - b * small) / (B - b)
    variance = (small - large) / (1 / b - 1 / B)
    return _ratio(np.float64(variance), np.float64(signal))


def _norms(one: Moments) -> tuple[np.ndarray, np.ndarray]:
    """By leaf: the mean squared norm, and the squared norm of the mean."""

    def total(tree, power):
        found = jax.tree.leaves(tree)
        return np.array([(np.asarray(x, np.float64) ** power).sum() for x in found])

    return total(one.square, 1), total(one.mean, 2)


def _noise(count: int, each: np.ndarray, together: np.ndarray) -> NoiseScale:
    """Batches of one example and of all of them."""
    variance = (each - together) * count / (count - 1)
    signal = (count * together - each) / (count - 1)
    return _ratio(variance, signal)


def _ratio(variance, signal) -> NoiseScale:
    variance, signal = np.asarray(variance), np.asarray(signal)
    inf = np.full(signal.shape, np.inf)
    return NoiseScale(
        variance, signal, np.divide(variance, signal, out=inf, where=signal > 0)
    )
