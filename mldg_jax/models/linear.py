"""The smallest back-end: the mean over time of the layers taken, and a linear layer.

On one layer it is the logistic regression that ``mldg probe`` fits, about a thousand
parameters: the baseline that larger heads and adapters have to beat. The means of
several layers are concatenated rather than averaged with learned weights: a weighted
average is the special case in which all layers share one direction, and ``mldg probe``
chooses its pairs and fours by the concatenation.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from mldg_jax.models.hidden_states import mean_over_frames, standardised


class LinearHead(nn.Module):
    """Hidden states of the layers taken → logits.

    It has 2 · layers · width + 2 parameters. Takes the last layer unless
    ``model.frontend.layers`` is a list.
    """

    # Not fields: what ``Detector`` passes.
    takes_layers = True
    takes_last = True
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
        means = [mean_over_frames(h, mask) for h in standardised(self, hidden)]
        return nn.Dense(2, name="logits")(jnp.concatenate(means, axis=-1))
