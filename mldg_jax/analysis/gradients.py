"""Gradients by attack, and how far they agree.

A gradient step of size α on attack i changes the loss of attack j by −α gᵢ·gⱼ to first
order. Attacks help each other if the inner product is positive and conflict if it is
negative.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mldg_jax.analysis import parameter_names
from mldg_jax.analysis.losses import as_tree


class Gradients(NamedTuple):
    """Gradients of several losses at the same parameters.

    Attributes:
      names: names of the n losses, e.g. attacks.
      loss: (n,) float64, nats.
      matrix: (n, parameters), one gradient per row, in the parameters' dtype.
      leaves: ranges of the columns that belong to each parameter array.
    """

    names: tuple[str, ...]
    loss: np.ndarray
    matrix: np.ndarray
    leaves: tuple[parameter_names.Leaf, ...]


class Similarity(NamedTuple):
    """Inner products and cosines of pairs of gradients.

    Attributes:
      names: names of the n gradients.
      inner: (…, n, n) float64, nats² per squared unit of the parameters.
      cosine: (…, n, n) float64 in [−1, 1]; NaN where a gradient vanishes.
    """

    names: tuple[str, ...]
    inner: np.ndarray
    cosine: np.ndarray


@functools.partial(jax.jit, static_argnames="chunk")
def stacked(
    function: Callable, trainable: Any, batches: Any, key: Any, chunk: int | None = None
) -> tuple[jax.Array, Any]:
    """Computes a function's values and gradients for several batches in one pass.

    Args:
      function: ``(trainable, batch, key) -> (value, aux)``, a loss or an objective of
        ``mldg``; ``losses`` explains how it should carry arrays.
      trainable: the parameters, the same for all batches.
      batches: batches or episodes, stacked along a leading axis (n, …) of every leaf.
      key: PRNG key, the same for all batches; None if the function ignores it.
      chunk: number of batches computed at once, ≥ 1, which determines the memory; None
        for all.

    Returns:
      Values (n,) and gradients, a tree like ``trainable`` with leaves (n, …).
    """
    value_and_grad = jax.value_and_grad(function, has_aux=True)

    def without_aux(batch):
        (value, _), gradient = value_and_grad(trainable, batch, key)
        return value, gradient

    if chunk is None:
        return jax.vmap(without_aux)(batches)
    return jax.lax.map(without_aux, batches, batch_size=chunk)


def per_attack(
    loss_fn: Callable,
    trainable: Any,
    batch: Any,
    attacks: Sequence[str],
    *,
    key: Any = None,
    chunk: int | None = None,
) -> Gradients:
    """Computes the gradient of every attack's loss.

    Args:
      loss_fn: a loss; see ``losses``.
      trainable: the parameters.
      batch: leaves (attacks, …); the loss receives one attack at a time, (1, …).
      attacks: names of the attacks.
      key: PRNG key, the same for all attacks; None if the loss ignores it.
      chunk: number of attacks computed at once; see ``stacked``.

    Returns:
      One gradient per attack.
    """
    return per_batch(
        loss_fn,
        trainable,
        jax.tree.map(lambda x: x[:, None], batch),
        attacks,
        key=key,
        chunk=chunk,
    )


def per_batch(
    function: Callable,
    trainable: Any,
    batches: Any,
    names: Sequence[str],
    *,
    key: Any = None,
    chunk: int | None = None,
) -> Gradients:
    """Computes the gradients of several batches or episodes; ``stacked`` on the host.

    Args:
      function: a loss or an objective; see ``stacked``.
      trainable: the parameters.
      batches: leaves (n, …), where each entry is what ``function`` takes.
      names: names of the n batches.
      key: PRNG key, the same for all batches; None if the function ignores it.
      chunk: number of batches computed at once; see ``stacked``.

    Returns:
      One gradient per batch.
    """
    loss, gradient = stacked(as_tree(function), trainable, batches, key, chunk)
    return Gradients(
        tuple(names),
        np.asarray(loss, np.float64),
        parameter_names.flatten(gradient, stacked=True),
        parameter_names.leaves(trainable),
    )


def similarity(gradients: Gradients) -> Similarity:
    """Computes the similarity of whole gradients.

    Args:
      gradients: n gradients.

    Returns:
      Inner products and cosines, (n, n).
    """
    inner = np.sum(_inner_by_leaf(gradients), axis=0)
    return Similarity(gradients.names, inner, _cosine(inner))


def similarity_by_block(
    gradients: Gradients,
) -> tuple[parameter_names.Blocks, parameter_names.Blocks]:
    """Computes the similarity of gradients by layer, projection and factor.

    Args:
      gradients: n gradients.

    Returns:
      Inner products and cosines, each with ``values`` (layers, projections, factors, n,
      n). The inner products of all blocks and of ``similarity_of_rest`` add up to those
      of ``similarity``.
    """
    inner = parameter_names.arrange(gradients.leaves, _inner_by_leaf(gradients))
    return inner, inner._replace(values=_cosine(inner.values))


def similarity_of_rest(gradients: Gradients) -> Similarity:
    """Computes the similarity of gradients outside the blocks, i.e. of the head.

    Args:
      gradients: n gradients.

    Returns:
      Inner products and cosines, (n, n).
    """
    by_leaf = _inner_by_leaf(gradients)
    rest = [
        x for x, leaf in zip(by_leaf, gradients.leaves, strict=True) if not leaf.factor
    ]
    inner = np.sum(rest, axis=0) if rest else np.zeros(by_leaf.shape[1:])
    return Similarity(gradients.names, inner, _cosine(inner))


def _inner_by_leaf(gradients: Gradients) -> np.ndarray:
    """Returns (leaves, n, n) float64, converting one leaf at a time to save memory."""
    parts = (
        gradients.matrix[:, leaf.start : leaf.stop].astype(np.float64)
        for leaf in gradients.leaves
    )
    return np.stack([part @ part.T for part in parts])


def _cosine(inner: np.ndarray) -> np.ndarray:
    norm = np.sqrt(np.diagonal(inner, axis1=-2, axis2=-1))
    product = norm[..., :, None] * norm[..., None, :]
    nan = np.full_like(inner, np.nan)
    return np.clip(np.divide(inner, product, out=nan, where=product > 0), -1, 1)
