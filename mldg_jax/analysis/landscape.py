"""The loss between runs and around them.

A point is ``{"trainable", "batch_stats"}``; a loss at a point is ``evaluate(point) ->
float``. Batch statistics move along with the parameters.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mldg_jax import lora

Point = Mapping[str, Any]

ELEVEN = np.linspace(0, 1, 11)


class Path(NamedTuple):
    """The loss on the line between two points.

    Attributes:
      t: (n,) float64 ascending, 0 at the first point, 1 at the other.
      loss: (n,) float64, nats.
    """

    t: np.ndarray
    loss: np.ndarray

    @property
    def barrier(self) -> float:
        """The most by which the loss exceeds the line between its ends, nats ≥ 0.

        Over the t in [0, 1], which must hold both ends (Frankle et al. 2020, up to
        where the ends differ).
        """
        inside = (self.t >= 0) & (self.t <= 1)
        t, loss = self.t[inside], self.loss[inside]
        return float(np.max(loss - ((1 - t) * loss[0] + t * loss[-1])))


class Slice(NamedTuple):
    """The loss on a grid around a point.

    Attributes:
      x: (n,) float64, steps along the first direction.
      y: (m,) float64 along the second; (1,) zero for one direction.
      loss: (m, n) float64, nats.
    """

    x: np.ndarray
    y: np.ndarray
    loss: np.ndarray


def blend(one: Point, other: Point, t: float, *, factors: bool = False) -> Point:
    """The point (1 − t) · one + t · other.

    By default updates are blended, ΔW = (1 − t) · ΔW₁ + t · ΔW₂, as an adapter of twice
    the rank. With ``factors`` A and B are, each by itself, which depends on how the two
    updates happen to be factored.
    """
    if factors:
        return jax.tree.map(lambda x, y: (1 - t) * x + t * y, one, other)
    pattern = [rf"trainable/.*/({lora.A}|{lora.B})"]
    (one_a, one_rest), (other_a, other_rest) = (
        lora.split(point, pattern) if _adapted(point) else ({}, point)
        for point in (one, other)
    )

    def stack(path, x, y):
        if path[-1].key == lora.A:
            return jnp.concatenate([x, y], axis=1)
        return jnp.concatenate([(1 - t) * x, t * y])

    rest = jax.tree.map(lambda x, y: (1 - t) * x + t * y, one_rest, other_rest)
    return lora.join(rest, jax.tree_util.tree_map_with_path(stack, one_a, other_a))


def _adapted(point: Point) -> bool:
    paths = jax.tree_util.tree_leaves_with_path(point["trainable"])
    return any(path[-1].key == lora.A for path, _ in paths)


def interpolate(
    evaluate: Callable[[Point], float],
    one: Point,
    other: Point,
    t: Sequence[float] | np.ndarray = ELEVEN,
    *,
    factors: bool = False,
) -> Path:
    """The loss on the line between two runs of the same front-end; see ``blend``."""
    at = np.asarray(t, np.float64)
    loss = [float(evaluate(blend(one, other, float(x), factors=factors))) for x in at]
    return Path(at, np.array(loss))


def random_direction(key: jax.Array, tree: Any) -> Any:
    """A Gaussian direction whose every leaf is as long as the tree's.

    The filter normalisation of Li et al. 2018 (arXiv 1712.09913), an array at a time: a
    step of 1 moves every array by its own length, whatever its scale.
    """
    arrays, structure = jax.tree.flatten(tree)

    def one(key, x):
        noise = jax.random.normal(key, x.shape, x.dtype)
        return noise * (jnp.linalg.norm(x) / jnp.linalg.norm(noise))

    keys = jax.random.split(key, len(arrays))
    return jax.tree.unflatten(structure, list(map(one, keys, arrays)))


def around(
    evaluate: Callable[[Point], float],
    point: Point,
    first: Any,
    second: Any = None,
    *,
    x: Sequence[float] | np.ndarray,
    y: Sequence[float] | np.ndarray = (0.0,),
) -> Slice:
    """The loss at ``trainable + x · first + y · second``.

    Args:
      evaluate: the loss of a point.
      point: the middle.
      first, second: trees like ``point["trainable"]``; without a second one the slice
        is one-dimensional.
      x, y: the grid.
    """

    def at(x, y):
        moved = jax.tree.map(lambda p, d: p + x * d, point["trainable"], first)
        if second is not None:
            moved = jax.tree.map(lambda p, d: p + y * d, moved, second)
        return float(evaluate({**point, "trainable": moved}))

    columns, rows = np.asarray(x, np.float64), np.asarray(y, np.float64)
    loss = [[at(i, j) for i in columns.tolist()] for j in rows.tolist()]
    return Slice(columns, rows, np.array(loss))
