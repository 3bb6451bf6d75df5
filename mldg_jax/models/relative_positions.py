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
