"""The loss between two runs and around one.

A point is ``{"trainable": …, "batch_stats": …}``, and ``evaluate(point) -> float`` is
its loss. Between two points, batch statistics are interpolated as well.
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
      t: (n,) float64, ascending positions; 0 is the first point, 1 the second.
      loss: (n,) float64, nats.
    """

    t: np.ndarray
    loss: np.ndarray

    @property
    def barrier(self) -> float:
        """Largest excess of the loss over the line between its ends, ≥ 0, in nats.

        Only t in [0, 1] counts, and ``t`` must include 0 and 1. Frankle et al. 2020
        measure the excess over the mean of the two ends instead of over this line.
        """
        inside = (self.t >= 0) & (self.t <= 1)
        t, loss = self.t[inside], self.loss[inside]
        return float(np.max(loss - ((1 - t) * loss[0] + t * loss[-1])))


class Slice(NamedTuple):
    """The loss on a grid around a point.

    Attributes:
      x: (n,) float64, coordinates along the first direction.
      y: (m,) float64, coordinates along the second direction; [0] if there is none.
      loss: (m, n) float64, nats.
    """

    x: np.ndarray
    y: np.ndarray
    loss: np.ndarray


def blend(one: Point, other: Point, t: float, *, factors: bool = False) -> Point:
    """Interpolates between two points: (1 − t) · one + t · other.

    By default this holds for the updates, ΔW = (1 − t) · ΔW₁ + t · ΔW₂, which are
    represented by adapters of twice the rank.

    Args:
      one: the point at t = 0.
      other: the point at t = 1, of the same front-end.
      t: position on the line; values outside [0, 1] extrapolate.
      factors: interpolate A and B separately instead of their product. The result then
        depends on how the two updates are factored.

    Returns:
      The interpolated point.
    """
    if factors:
        return jax.tree.map(lambda x, y: (1 - t) * x + t * y, one, other)
    pattern = [rf"trainable/.*/({lora.A}|{lora.B})"]
    (one_a, one_rest), (other_a, other_rest) = (
        lora.split(point, pattern) if _adapted(point) else ({}, point)
        for point in (one, other)
    )

    # [A₁ A₂] @ [(1 − t) B₁; t B₂] = (1 − t) A₁ @ B₁ + t A₂ @ B₂
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
    """Evaluates the loss on the line between two runs of the same front-end.

    Args:
      evaluate: ``point -> loss``.
      one: the point at t = 0.
      other: the point at t = 1.
      t: (n,) ascending positions on the line.
      factors: interpolate A and B separately; see ``blend``.

    Returns:
      The loss at every position.
    """
    t = np.asarray(t, np.float64)
    loss = [float(evaluate(blend(one, other, float(x), factors=factors))) for x in t]
    return Path(t, np.array(loss))


def random_direction(key: jax.Array, tree: Any) -> Any:
    """Draws a Gaussian direction, scaled to the norm of the parameters array by array.

    This is the filter normalisation of Li et al. 2018 (arXiv 1712.09913), applied to
    arrays instead of filters: a step of 1 moves every array by its own norm.

    Args:
      key: PRNG key.
      tree: the parameters.

    Returns:
      A tree like ``tree``.
    """
    arrays, structure = jax.tree.flatten(tree)

    def scaled_noise(key, x):
        noise = jax.random.normal(key, x.shape, x.dtype)
        return noise * (jnp.linalg.norm(x) / jnp.linalg.norm(noise))

    keys = jax.random.split(key, len(arrays))
    return jax.tree.unflatten(structure, list(map(scaled_noise, keys, arrays)))


def around(
    evaluate: Callable[[Point], float],
    point: Point,
    first: Any,
    second: Any = None,
    *,
    x: Sequence[float] | np.ndarray,
    y: Sequence[float] | np.ndarray = (0.0,),
) -> Slice:
    """Evaluates the loss at ``trainable + x · first + y · second`` on a grid.

    Args:
      evaluate: ``point -> loss``.
      point: the centre.
      first: direction of x, a tree like ``point["trainable"]``.
      second: direction of y, likewise; None for a one-dimensional slice.
      x: (n,) coordinates along ``first``.
      y: (m,) coordinates along ``second``.

    Returns:
      The loss at every point of the grid.
    """

    def loss_at(x, y):
        moved = jax.tree.map(lambda p, d: p + x * d, point["trainable"], first)
        if second is not None:
            moved = jax.tree.map(lambda p, d: p + y * d, moved, second)
        return float(evaluate({**point, "trainable": moved}))

    columns, rows = np.asarray(x, np.float64), np.asarray(y, np.float64)
    loss = [[loss_at(i, j) for i in columns.tolist()] for j in rows.tolist()]
    return Slice(columns, rows, np.array(loss))
