"""Sensitive layer selection: every utterance weights the layers for itself.

Zhang, Wen and Hu, ACM Multimedia 2024 (doi 10.1145/3664647.3681345), where it follows
XLS-R. The mean over time of every layer goes through one linear layer and a sigmoid,
whose value is the weight of that layer for this utterance; the weighted layers are
added, then SELU, max pooling, a hidden layer with SELU, and the logits.

Ours: frames are standardised with statistics of training examples (see
``hidden_states``) instead of a BatchNorm of the sum; the maximum is over all frames
(the paper: over three at a time, then flattened, which fixes the length of the input
and makes 23 million parameters of the hidden layer); the hidden layer has ``dim``
units instead of 1,024; no SELU follows the logits. As in the paper, the maximum is also
over three neighbouring channels, and channels that do not fill a group are dropped.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from mldg_jax.models.hidden_states import (
    mean_over_frames,
    standardised,
    weighted_sum,
)

GROUP = 3  # channels of a maximum


class SLSHead(nn.Module):
    """Hidden states of every layer → logits.

    It has width + 1 + (width // 3 + 1) · dim + 2 · dim + 2 parameters, however many
    layers there are.

    Attributes:
      dim: width of the hidden layer.
    """

    dim: int = 128
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
        means = jnp.stack([mean_over_frames(h, mask) for h in layers], axis=1)
        gate = nn.Dense(1, name="gate")(means)[..., 0]  # (batch, layers)
        x = weighted_sum(layers, jax.nn.sigmoid(gate))
        if mask is not None:
            x = jnp.where(mask[..., None], x, -jnp.inf)
        # SELU rises, so that it can follow the maximum: a hundredth of the work.
        x = x.max(axis=1)  # (batch, width)
        groups = x.shape[-1] // GROUP
        x = x[:, : groups * GROUP].reshape(-1, groups, GROUP).max(axis=-1)
        x = nn.selu(nn.Dense(self.dim, name="hidden")(nn.selu(x)))
        return nn.Dense(2, name="logits")(x)
