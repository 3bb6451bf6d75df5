"""Attention that knows how far two frames are apart.

``GatedAttention`` is that of WavLM: a learned bias for each distance and head, shared
by all layers and scaled by a gate that every layer computes from its input (Chen et al.
2021, arXiv 2110.13900, section III-B, after Chi et al. 2021, arXiv 2106.16138).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype

from mldg_jax.models.layers import PositionScores, SelfAttention


class GatedAttention(SelfAttention):
    """Self-attention whose ``positions`` are the bias (heads, frames, frames)."""

    def _position_scores(
        self, x: jax.Array, batch: int, positions: jax.Array | None
    ) -> PositionScores | None:
        if positions is None:
            raise ValueError("GatedAttention needs positions")
        heads, frames, _ = positions.shape
        gate = Gate(self.heads, self.dtype, name="gate")(x)
        gate = gate.reshape(batch, frames, heads).transpose(0, 2, 1)[..., None]
        scores = (gate * positions).reshape(batch * heads, frames, frames)
        return lambda query: scores


class Gate(nn.Module):
    """A factor of the position bias for every frame and head.

    With x a head's part of the frame, its two gates are the sigmoids of a linear map of
    x, ``update`` and ``reset``; the factor is update · (reset · scale − 1) + 2.

    Attributes:
      heads: number of heads.
      dtype: compute dtype of the linear map.
    """

    heads: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (batch · frames, dim) to (batch · frames, heads), at least float32."""
        rows, dim = x.shape
        width = dim // self.heads
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (width, 8))
        bias = self.param("bias", nn.initializers.zeros, (8,))
        scale = self.param("scale", nn.initializers.ones, (1, self.heads, 1, 1))
        # Four outputs of the published map make a gate: their sum is one of the map's.
        kernel = kernel.reshape(width, 2, 4).sum(-1)
        x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        wide = jnp.promote_types(x.dtype, jnp.float32)
        y = x.reshape(rows * self.heads, width) @ kernel
        y = y.astype(wide) + bias.reshape(2, 4).sum(-1).astype(wide)
        gates = jax.nn.sigmoid(y.reshape(rows, self.heads, 2))
        reset = gates[..., 1] * scale.reshape(self.heads).astype(wide)
        return gates[..., 0] * (reset - 1.0) + 2.0


def distance_buckets(frames: int, count: int, max_distance: int) -> np.ndarray:
    """Assigns a bucket to every pair of frames.

    Half of the buckets are for keys that come later. In each half, the first half is
    one distance each, the others grow with the logarithm up to ``max_distance``.

    Args:
      frames: number of frames.
      count: number of buckets.
      max_distance: distance in frames from which all pairs share the last bucket.

    Returns:
      (frames, frames) int32, by query and key, each 0 … count − 1.
    """
    frame = np.arange(frames)
    offset = frame[None] - frame[:, None]  # of the key from the query
    half, distance = count // 2, np.abs(offset)
    exact = half // 2
    # In float32, as the models were trained: rounding decides at the edges.
    ratio = np.log(np.maximum(distance, 1).astype(np.float32) / np.float32(exact))
    ratio = ratio / np.float32(np.log(max_distance / exact)) * np.float32(half - exact)
    far = np.minimum(exact + ratio.astype(np.int64), half - 1)
    bucket = np.where(distance < exact, distance, far) + half * (offset > 0)
    return bucket.astype(np.int32)


class ShawAttention(SelfAttention):
    """Self-attention with a key for each distance (Shaw et al. 2018, arXiv 1803.02155).

    Attributes:
      left, right: largest distance of an earlier and of a later key; those further away
        share a key.
    """

    left: int = 64
    right: int = 8

    def _position_scores(
        self, x: jax.Array, batch: int, positions: jax.Array | None
    ) -> PositionScores:
        shape = (self.left + self.right + 1, x.shape[-1] // self.heads)
        keys = self.param("distances", nn.initializers.normal(1.0), shape)

        def scores(query: jax.Array) -> jax.Array:
            wide = jnp.promote_types(query.dtype, jnp.float32)
            y = jnp.einsum(
                "bqd,rd->bqr",
                query,
                keys.astype(query.dtype),
                preferred_element_type=wide,
            )
            return by_distance(y, self.left, self.right)

        return scores


def by_distance(scores: jax.Array, left: int, right: int) -> jax.Array:
    """Spreads scores by distance over the pairs of frames.

    By padding and reshaping: the gradient of a lookup would be a scatter.

    Args:
      scores: (batch, frames, left + right + 1), the last axis by the distance of the
        key from the query, −left … right.
      left, right: keys further away have the score of the last distance.

    Returns:
      (batch, frames, frames), by query and key.
    """
    batch, frames, _ = scores.shape
    far = frames - 1
    first, last = min(left, far), min(right, far)
    near = scores[:, :, left - first : left + last + 1]
    edges = [(0, 0), (0, 0), (far - first, far - last)]
    every = jnp.pad(near, edges, mode="edge")  # distances −far … far
    # Row q starts at distance −q. In memory a row of 2 · frames − 1 begins one later in
    # each row than the one before, if every row has one more element.
    every = jnp.pad(every, [(0, 0), (0, 0), (0, 1)]).reshape(batch, -1)
    every = every[:, far : far + frames * (2 * frames - 1)]
    return every.reshape(batch, frames, 2 * frames - 1)[:, :, :frames]
