"""Names of trained parameters: layer × projection × factor, and the rest.

``frontend/layers_3/attention/query/lora_a`` is layer 3, projection "query", factor "A".
Leaves without layer and factor (the head's) belong to no block.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mldg_jax import lora

FACTORS = {lora.A: "A", lora.B: "B", "kernel": "W"}
ORDER = ("query", "key", "value", "out", "mlp_in", "mlp_out")
_PATH = re.compile(rf"frontend/layers_(\d+)/(?:attention/)?(\w+)/({'|'.join(FACTORS)})")


class Leaf(NamedTuple):
    """An array of a parameter tree, and where it lies in the flattened tree.

    Attributes:
      path: names joined by slashes.
      layer: number of the front-end's layer; None for other leaves.
      projection: "query", "key", "value", "out", …; "" for other leaves.
      factor: "A" or "B"; "W" for a whole kernel; "" for other leaves.
      start, stop: its place in ``flatten``'s vector.
    """

    path: str
    layer: int | None
    projection: str
    factor: str
    start: int
    stop: int


class Blocks(NamedTuple):
    """Something for each layer, projection and factor.

    Attributes:
      layers: numbers, ascending.
      projections: names, in the order query, key, value, out, ….
      factors: names.
      values: (layers, projections, factors, …) float64, NaN where there is no block.
    """

    layers: tuple[int, ...]
    projections: tuple[str, ...]
    factors: tuple[str, ...]
    values: np.ndarray


def leaves(tree: Any) -> tuple[Leaf, ...]:
    """The leaves of a parameter tree (of arrays or shapes), in JAX's order."""
    found, start = [], 0
    for path, x in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        match = _PATH.fullmatch(name)
        layer, projection, factor = match.groups() if match else (None, "", "")
        stop = start + int(np.prod(np.shape(x)))
        layer = None if layer is None else int(layer)
        factor = FACTORS.get(factor, "")
        found.append(Leaf(name, layer, projection, factor, start, stop))
        start = stop
    return tuple(found)


def flatten(tree: Any, stacked: bool = False) -> np.ndarray:
    """A parameter tree as one vector (parameters,), on the host.

    With ``stacked`` every leaf has a leading axis, which stays: (n, parameters).
    """
    flat = [np.asarray(x) for x in jax.tree.leaves(tree)]
    if stacked:
        return np.concatenate([x.reshape(len(x), -1) for x in flat], axis=1)
    return np.concatenate([x.ravel() for x in flat])


def unflatten(vector: np.ndarray, like: Any) -> Any:
    """The inverse of ``flatten``, in the shapes and dtypes of ``like``."""
    shapes, structure = jax.tree.flatten(like)
    ends = np.cumsum([x.size for x in shapes])[:-1]
    parts = zip(np.split(vector, ends), shapes, strict=True)
    arrays = [part.reshape(x.shape).astype(x.dtype) for part, x in parts]
    return jax.tree.unflatten(structure, arrays)


def arrange(leaves: Sequence[Leaf], values: Sequence[Any] | np.ndarray) -> Blocks:
    """Arranges one value (or array) a leaf by block; leaves of no block are dropped."""
    chosen = [(x, v) for x, v in zip(leaves, values, strict=True) if x.factor]
    layers = tuple(sorted({x.layer for x, _ in chosen if x.layer is not None}))
    projections = tuple(
        sorted({x.projection for x, _ in chosen}, key=lambda p: (_place(p), p))
    )
    factors = tuple(sorted({x.factor for x, _ in chosen}))
    shape = np.shape(chosen[0][1]) if chosen else ()
    sides = len(layers), len(projections), len(factors)
    filled = np.full((*sides, *shape), np.nan)
    for x, value in chosen:
        filled[
            layers.index(x.layer),
            projections.index(x.projection),
            factors.index(x.factor),
        ] = value
    return Blocks(layers, projections, factors, filled)


def _place(projection: str) -> int:
    return ORDER.index(projection) if projection in ORDER else len(ORDER)
