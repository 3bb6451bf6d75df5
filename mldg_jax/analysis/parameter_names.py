"""Trained parameters grouped by layer, projection and factor.

``frontend/layers_3/attention/query/lora_a`` is layer 3, projection "query", factor "A".
Each such combination is a block. Other leaves, such as the head's, belong to no block.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mldg_jax import lora

FACTORS = {lora.A: "A", lora.B: "B", "kernel": "W"}
ORDER = ("query", "key", "value", "out")
ORDER += ("first_mlp_in", "first_mlp_out", "mlp_in", "mlp_out")
_PATH = re.compile(rf"frontend/layers_(\d+)/(?:attention/)?(\w+)/({'|'.join(FACTORS)})")


class Leaf(NamedTuple):
    """An array of a parameter tree and its range in the flattened tree.

    Attributes:
      path: names joined by slashes.
      layer: index of the front-end layer; None outside the blocks.
      projection: "query", "key", "value", "out", …; "" outside the blocks.
      factor: "A" or "B", "W" for a whole kernel; "" outside the blocks.
      start: first index in the vector that ``flatten`` returns.
      stop: one past the last index in that vector.
    """

    path: str
    layer: int | None
    projection: str
    factor: str
    start: int
    stop: int


class Blocks(NamedTuple):
    """A value for each layer, projection and factor.

    Attributes:
      layers: layer indices, ascending.
      projections: names, in the order query, key, value, out, ….
      factors: names, sorted.
      values: (layers, projections, factors, …) float64, NaN where no block exists.
    """

    layers: tuple[int, ...]
    projections: tuple[str, ...]
    factors: tuple[str, ...]
    values: np.ndarray


def leaves(tree: Any) -> tuple[Leaf, ...]:
    """Returns the leaves of a parameter tree, in JAX's order.

    Args:
      tree: nested dictionaries of arrays or of ``jax.ShapeDtypeStruct``.

    Returns:
      One ``Leaf`` for each array.
    """
    described, start = [], 0
    for path, x in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        match = _PATH.fullmatch(name)
        layer, projection, factor = match.groups() if match else (None, "", "")
        stop = start + int(np.prod(np.shape(x)))
        layer = None if layer is None else int(layer)
        factor = FACTORS.get(factor, "")
        described.append(Leaf(name, layer, projection, factor, start, stop))
        start = stop
    return tuple(described)


def flatten(tree: Any, stacked: bool = False) -> np.ndarray:
    """Concatenates the leaves of a parameter tree into one vector on the host.

    Args:
      tree: the parameters, or a tree like them.
      stacked: every leaf has an additional leading axis (n, …), which is kept.

    Returns:
      (parameters,), or (n, parameters) if ``stacked``, in the leaves' common dtype.
    """
    arrays = [np.asarray(x) for x in jax.tree.leaves(tree)]
    if stacked:
        return np.concatenate([x.reshape(len(x), -1) for x in arrays], axis=1)
    return np.concatenate([x.ravel() for x in arrays])


def unflatten(vector: np.ndarray, like: Any) -> Any:
    """Splits a vector into a parameter tree; the inverse of ``flatten``.

    Args:
      vector: (parameters,).
      like: a tree with the structure, shapes and dtypes of the result.

    Returns:
      A tree like ``like``.
    """
    shapes, structure = jax.tree.flatten(like)
    ends = np.cumsum([x.size for x in shapes])[:-1]
    parts = zip(np.split(vector, ends), shapes, strict=True)
    arrays = [part.reshape(x.shape).astype(x.dtype) for part, x in parts]
    return jax.tree.unflatten(structure, arrays)


def arrange(leaves: Sequence[Leaf], values: Sequence[Any] | np.ndarray) -> Blocks:
    """Arranges one value or array per leaf by layer, projection and factor.

    Args:
      leaves: from ``parameter_names.leaves``.
      values: (leaves, …); values of leaves outside the blocks are dropped.

    Returns:
      The values by block, NaN where no block exists.
    """
    chosen = [(x, v) for x, v in zip(leaves, values, strict=True) if x.factor]
    layers = tuple(sorted({x.layer for x, _ in chosen if x.layer is not None}))
    projections = tuple(
        sorted({x.projection for x, _ in chosen}, key=lambda p: (_position(p), p))
    )
    factors = tuple(sorted({x.factor for x, _ in chosen}))
    shape = np.shape(chosen[0][1]) if chosen else ()
    lead = len(layers), len(projections), len(factors)
    by_block = np.full((*lead, *shape), np.nan)
    for x, value in chosen:
        by_block[
            layers.index(x.layer),
            projections.index(x.projection),
            factors.index(x.factor),
        ] = value
    return Blocks(layers, projections, factors, by_block)


def _position(projection: str) -> int:
    return ORDER.index(projection) if projection in ORDER else len(ORDER)
