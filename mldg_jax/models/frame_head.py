"""A back-end that finds partial spoofs: logits of every frame, and of the utterance.

It has the weighted layers and the projection of the pooling head, and one linear layer
on every frame. With s_t the difference of a frame's logits l_t (bona fide minus spoof),
those of the utterance are a mean that prefers suspicious frames:

    logits = Σ_t a_t l_t,    a_t = exp(−s_t / τ) / Σ_u exp(−s_u / τ)

so that its score is between the mean of the frames' scores (τ → ∞) and their minimum
(τ → 0). As the layer is linear, they are also its output for Σ_t a_t x_t, the embedding
of the utterance.
"""

from typing import NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from mldg_jax.data.segment_labels import FRAME_SAMPLES
from mldg_jax.models.pooling import PoolingHead


class FrameLogits(NamedTuple):
    """The output of a head that locates spoof.

    Attributes:
      utterance: (batch, 2) logits, column 1 bona fide.
      frames: (batch, frames, 2) logits, at the front-end's frame rate.
      embedding: (batch, width), what the last linear layer maps to ``utterance``.
    """

    utterance: jax.Array
    frames: jax.Array
    embedding: jax.Array


class FrameHead(PoolingHead):
    """Hidden states of every layer → logits of frames and utterance.

    Attributes:
      dim: width after the projection.
      temperature: τ of the utterance's mean, > 0.
      frame_weight: weight of the frames' cross-entropy in the training loss, ≥ 0; the
        utterance's has weight 1.
    """

    temperature: float = 1.0
    frame_weight: float = 1.0
    locates = True  # not a field: it has ``locate``

    @nn.compact
    def locate(self, hidden: list[jax.Array]) -> FrameLogits:
        """Maps arrays (batch, frames, width), one per layer, to logits."""
        x = self.projected(hidden)
        layer = nn.Dense(2, name="logits")
        frames = layer(x)
        weights = jax.nn.softmax(
            (frames[..., 0] - frames[..., 1]) / self.temperature, axis=-1
        )
        embedding = jnp.einsum("bt,btd->bd", weights, x)
        return FrameLogits(layer(embedding), frames, embedding)

    def __call__(self, hidden: list[jax.Array], train: bool = False) -> jax.Array:
        """Maps arrays (batch, frames, width), one per layer, to (batch, 2) logits.

        Column 1 is bona fide. Training mode makes no difference.
        """
        del train
        return self.locate(hidden).utterance


def on_grid(frames: jax.Array, samples: int) -> jax.Array:
    """Brings what a front-end has by frame to the grid of 20 ms.

    Args:
      frames: (batch, n, …), n frames that cover an input. wav2vec 2.0 has a frame or
        two less than the grid, as its last ones would reach past the end: the last one
        is repeated. At another rate every place gets the nearest frame.
      samples: length of the input at 16 kHz.

    Returns:
      (batch, ⌈samples / 320⌉, …).
    """
    count, wanted = frames.shape[1], -(-samples // FRAME_SAMPLES)
    places = jnp.arange(wanted)
    if abs(count - wanted) > 2:
        places = ((places + 0.5) * count / wanted).astype(int)
    return cast(jax.Array, frames[:, jnp.minimum(places, count - 1)])
