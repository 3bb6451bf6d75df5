"""Multi-head factorised attentive pooling: which frames, by which layers.

Peng et al. 2022 (arXiv 2210.01273), where it pools frames for speaker verification. Two
weightings of all layers are learned: one gives the keys, which decide how much each
frame counts, the other the values, which are averaged.

Ours: frames are standardised first (see ``hidden_states``); the heads' means go
straight to the two logits, since a linear embedding in between would only factorise
that layer; and there is no bias but that of the logits, since a bias of keys or
attention cancels in the softmax over frames and one of the values is a part of the
logits' bias.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from mldg_jax.models.hidden_states import standardised, weighted_sum


class MHFAHead(nn.Module):
    """Hidden states of every layer → logits.

    It has 2 · layers + 2 · width · dim + dim · heads + 2 · heads · dim + 2 parameters.

    Attributes:
      dim: width of the compressed keys and values.
      heads: number of attention heads.
    """

    dim: int = 128
    heads: int = 8
    takes_layers = True  # not fields: what ``Detector`` passes
    standardises = True

    @nn.compact
    def __call__(
        self,
        hidden: list[jax.Array],
        train: bool = False,
        mask: jax.Array | None = None,
    ) -> jax.Array:
        """Maps arrays (batch, frames, width), one per layer, to (batch, 2) logits.

        Args:
          hidden: the layers.
          train: makes no difference.
          mask: (batch, frames) bool, False for padding; None without padding.

        Returns:
          (batch, 2), column 1 bona fide.
        """
        del train
        layers = standardised(self, hidden)
        batch = hidden[0].shape[0]

        def compressed(name: str) -> jax.Array:
            shape = (len(layers),)
            weights = self.param(f"{name}_weights", nn.initializers.zeros, shape)
            mixed = weighted_sum(layers, jax.nn.softmax(weights))
            return nn.Dense(self.dim, use_bias=False, name=name)(mixed)

        key, value = compressed("key"), compressed("value")  # (batch, frames, dim)
        energy = nn.Dense(self.heads, use_bias=False, name="attention")(key)
        if mask is not None:
            energy = jnp.where(mask[..., None], energy, -jnp.inf)
            value = jnp.where(mask[..., None], value, 0)
        attention = jax.nn.softmax(energy, axis=1)  # (batch, frames, heads)
        pooled = jnp.einsum("bth,btd->bhd", attention, value)
        return nn.Dense(2, name="logits")(pooled.reshape(batch, -1))
