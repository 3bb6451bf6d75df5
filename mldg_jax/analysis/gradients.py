"""Gradients by attack, and how far they agree.

A gradient step of size α on attack i changes the loss of attack j by −α gᵢ·gⱼ to first
order. Positive inner products: the attacks help each other; negative: they conflict.
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
      names: of what each row is the gradient of, e.g. attacks.
      loss: (n,) float64, in nats.
      matrix: (n, parameters), in the parameters' dtype.
      leaves: where the parameters are.
    """

    names: tuple[str, ...]
    loss: np.ndarray
    matrix: np.ndarray
    leaves: tuple[parameter_names.Leaf, ...]


class Similarity(NamedTuple):
    """Inner products and cosines of gradients.

    Attributes:
      names: of the n gradients.
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
    """Values and gradients of one function for several batches, in one pass.

    Args:
      function: ``(trainable, batch, key) -> (value, aux)``: a loss, or an objective
        of ``mldg``; see ``losses`` for how it carries arrays.
      trainable: the parameters, the same for all.
      batches: a batch or episode whose leaves have one more leading axis, (n, …).
      key: PRNG key, the same for all; None where the function ignores it.
      chunk: how many are computed at once, ≥ 1; all if None. Memory is that of a chunk.

    Returns:
      Values (n,) and gradients, a tree like ``trainable`` with leaves (n, …).
    """
    value_and_grad = jax.value_and_grad(function, has_aux=True)

    def one(batch):
        (value, _), gradient = value_and_grad(trainable, batch, key)
        return value, gradient

    if chunk is None:
        return jax.vmap(one)(batches)
    return jax.lax.map(one, batches, batch_size=chunk)


def per_attack(
    loss_fn: Callable,
    trainable: Any,
    batch: Any,
    attacks: Sequence[str],
    *,
    key: Any = None,
    chunk: int | None = None,
) -> Gradients:
    """The gradient of every attack's loss.

    Args:
      loss_fn, trainable, key, chunk: see ``stacked``.
      batch: leaves (attacks, …); the loss is given one attack at a time, (1, …).
      attacks: their names.
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
    """``stacked`` on the host: of several batches, or of several episodes."""
    loss, gradient = stacked(as_tree(function), trainable, batches, key, chunk)
    return Gradients(
        tuple(names),
        np.asarray(loss, np.float64),
        parameter_names.flatten(gradient, stacked=True),
        parameter_names.leaves(trainable),
    )


def similarity(gradients: Gradients) -> Similarity:
    """Of whole gradients: ``inner`` and ``cosine`` (n, n)."""
    inner = np.sum(_inner_by_leaf(gradients), axis=0)
    return Similarity(gradients.names, inner, _cosine(inner))


def similarity_by_block(
    gradients: Gradients,
) -> tuple[parameter_names.Blocks, parameter_names.Blocks]:
    """Of every layer's, projection's and factor's part of the gradients.

    Returns:
      Inner products and cosines: ``values`` (layers, projections, factors, n, n). The
      inner products of all blocks and of the head add up to those of ``similarity``.
    """
    inner = parameter_names.arrange(gradients.leaves, _inner_by_leaf(gradients))
    return inner, inner._replace(values=_cosine(inner.values))


def similarity_of_rest(gradients: Gradients) -> Similarity:
    """Of what belongs to no block, the head."""
    inner = _inner_by_leaf(gradients)
    rest = [
        x for x, leaf in zip(inner, gradients.leaves, strict=True) if not leaf.factor
    ]
    total = np.sum(rest, axis=0) if rest else np.zeros(inner.shape[1:])
    return Similarity(gradients.names, total, _cosine(total))


def _inner_by_leaf(gradients: Gradients) -> np.ndarray:
    """(leaves, n, n) float64, summed in double precision, leaf by leaf."""
    parts = (
        gradients.matrix[:, leaf.start : leaf.stop].astype(np.float64)
        for leaf in gradients.leaves
    )
    return np.stack([part @ part.T for part in parts])


def _cosine(inner: np.ndarray) -> np.ndarray:
    norm = np.sqrt(np.diagonal(inner, axis1=-2, axis2=-1))
    product = norm[..., :, None] * norm[..., None, :]
    empty = np.full_like(inner, np.nan)
    return np.clip(np.divide(inner, product, out=empty, where=product > 0), -1, 1)
