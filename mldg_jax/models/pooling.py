"""A light back-end: standardised frames, weighted layers, mean and deviation, logits.

The layer weighting follows SUPERB (Yang et al. 2021, arXiv 2105.01051); for the
standardisation see ``hidden_states``. For comparison, the paper's AASIST back-end is
heavier than the whole Whisper tiny encoder.
"""

from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from mldg_jax.models.hidden_states import measured


class PoolingHead(nn.Module):
    """Hidden states of every layer → logits.

    Attributes:
      dim: width after the projection.
    """

    dim: int = 128
    takes_layers = True  # not fields: what ``Detector`` passes
    standardises = True

    @nn.compact
    def __call__(self, hidden: list[jax.Array], train: bool = False) -> jax.Array:
        """Maps arrays (batch, frames, width), one per layer, to (batch, 2) logits.

        Column 1 is bona fide. Training mode makes no difference.
        """
        del train
        x = self.projected(hidden)
        deviation = jnp.sqrt(x.var(axis=1) + 1e-5)
        return nn.Dense(2, name="logits")(
            jnp.concatenate([x.mean(axis=1), deviation], axis=-1)
        )

    def projected(self, hidden: list[jax.Array]) -> jax.Array:
        """Standardises, weighs and projects the layers, in a compact method.

        Args:
          hidden: arrays (batch, frames, width), one per layer.

        Returns:
          (batch, frames, dim).
        """
        shift, scale = measured(self, hidden)
        weights = self.param("layer_weights", nn.initializers.zeros, (len(hidden),))
        weights = jax.nn.softmax(weights)[:, None] * scale
        layers = zip(hidden, shift, weights, strict=True)
        x = cast(jax.Array, sum((h - m) * w for h, m, w in layers))
        batch, frames, width = x.shape
        x = nn.Dense(self.dim, name="project")(x.reshape(batch * frames, width))
        return nn.gelu(x).reshape(batch, frames, self.dim)
