"""Per-example gradients: noise scale and diagonal of the empirical Fisher matrix.

The gradients of all examples would not fit in memory, so they are reduced to running
sums.
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
    """Moments of the gradients of n examples.

    Attributes:
      count: n.
      mean: mean gradient, a tree like the parameters.
      square: mean squared gradient, a tree like the parameters. It is the diagonal of
        the empirical Fisher matrix, which uses the true labels and therefore differs
        from the Fisher matrix (Kunstner et al. 2019).
    """

    count: int
    mean: Any
    square: Any


class NoiseScale(NamedTuple):
    """The simple gradient noise scale (McCandlish et al. 2018, arXiv 1812.06162).

    Attributes:
      variance: unbiased estimate of tr Σ, with Σ the covariance of the examples'
        gradients.
      signal: unbiased estimate of ‖G‖², the squared norm of the true gradient; it can
        be negative if noise dominates.
      scale: tr Σ / ‖G‖², in examples; inf if ``signal`` is not positive. Doubling a
        batch that is far smaller than this nearly halves the number of steps needed;
        doubling one that is far larger gains little.
    """

    variance: np.ndarray
    signal: np.ndarray
    scale: np.ndarray


def moments(
    loss_fn: Callable, params: Any, batch: Any, *, key: Any = None, chunk: int = 1
) -> Moments:
    """Computes the mean gradient and the mean squared gradient of a batch's examples.

    Args:
      loss_fn: a loss, see ``losses``; it receives one example at a time, (1, 1, …).
      params: the parameters to differentiate with respect to.
      batch: ``waveform`` and ``label`` with leading axes (domains, examples) or
        (examples,).
      key: PRNG key, the same for every example; None if the loss ignores it.
      chunk: number of examples computed at once, ≥ 1. The memory is that of ``chunk``
        gradients and of the two sums.

    Returns:
      The moments over all examples.
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
    """Sums the gradients of examples, and their squares.

    Args:
      loss_fn: a loss that is a pytree; see ``losses.as_tree``.
      params: the parameters to differentiate with respect to.
      examples: ``waveform`` and ``label`` with leaves (examples, …).
      key: PRNG key, the same for every example.
      chunk: number of examples computed at once, from 1 to the number of examples.

    Returns:
      Two trees like ``params``: the sum of the gradients, the sum of their squares.
    """

    def gradient_of(example):
        batch = jax.tree.map(lambda x: x[None, None], example)
        return jax.grad(lambda p: loss_fn(p, batch, key)[0])(params)

    def add(total, part):
        gradient = jax.vmap(gradient_of)(part)
        pairs = jax.tree.map(lambda g: (g.sum(0), jnp.square(g).sum(0)), gradient)
        pair = jax.tree.transpose(
            jax.tree.structure(params), jax.tree.structure((0, 0)), pairs
        )
        return jax.tree.map(jnp.add, total, pair), None

    zeros = jax.tree.map(jnp.zeros_like, params)
    count = len(examples["label"])
    whole = count // chunk * chunk
    parts = jax.tree.map(lambda x: x[:whole].reshape(-1, chunk, *x.shape[1:]), examples)
    total, _ = jax.lax.scan(add, (zeros, zeros), parts)
    if whole < count:
        total, _ = add(total, jax.tree.map(lambda x: x[whole:], examples))
    return total


def noise_scale(one: Moments) -> NoiseScale:
    """Estimates the noise scale of the whole gradient.

    Args:
      one: moments of at least two examples.

    Returns:
      The noise scale, with scalar entries.
    """
    return _noise(one.count, *(x.sum() for x in _norms(one)))


def noise_by_block(one: Moments) -> parameter_names.Blocks:
    """Estimates the noise scale by layer, projection and factor.

    Args:
      one: moments of at least two examples.

    Returns:
      Noise scales in examples, ``values`` (layers, projections, factors).
    """
    noise = _noise(one.count, *_norms(one))
    return parameter_names.arrange(parameter_names.leaves(one.mean), noise.scale)


def noise_from_batches(
    small: float, large: float, *, sizes: tuple[float, float]
) -> NoiseScale:
    """Estimates the noise scale from the gradient norms at two batch sizes.

    Args:
      small: mean squared gradient norm of the small batches.
      large: mean squared gradient norm of the large batches, of the same examples.
      sizes: sizes of a small and of a large batch, in examples.

    Returns:
      The noise scale, with scalar entries.
    """
    b, B = sizes
    signal = (B * large - b * small) / (B - b)
    variance = (small - large) / (1 / b - 1 / B)
    return _ratio(np.float64(variance), np.float64(signal))


def _norms(one: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Returns, per leaf, the mean squared norm and the squared norm of the mean."""

    def total(tree, power):
        leaves = jax.tree.leaves(tree)
        return np.array([(np.asarray(x, np.float64) ** power).sum() for x in leaves])

    return total(one.square, 1), total(one.mean, 2)


def _noise(count: int, small: np.ndarray, large: np.ndarray) -> NoiseScale:
    """Does as ``noise_from_batches`` for batches of one example and of all."""
    variance = (small - large) * count / (count - 1)
    signal = (count * large - small) / (count - 1)
    return _ratio(variance, signal)


def _ratio(variance, signal) -> NoiseScale:
    variance, signal = np.asarray(variance), np.asarray(signal)
    inf = np.full(signal.shape, np.inf)
    return NoiseScale(
        variance, signal, np.divide(variance, signal, out=inf, where=signal > 0)
    )
