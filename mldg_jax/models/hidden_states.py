"""What the heads that read hidden states of several layers have in common.

The channels of a transformer differ in scale a hundredfold, and a few of them would
drown out the rest: on DebSpoof this costs 4 percentage points of EER on held-out
speakers. The statistics that standardise the frames are measured once, on training
examples, so an utterance's logits never depend on its batch.
"""

from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp


def statistics(hidden: list[jax.Array]) -> dict[str, jax.Array]:
    """Measures the statistics that standardise the head's input.

    Args:
      hidden: hidden states of training utterances, (batch, frames, width), one array
        per layer.

    Returns:
      The head's ``batch_stats``: ``shift`` (mean) and ``scale`` (1 / standard
      deviation), each (layers, width).
    """
    stacked = jnp.stack(hidden)  # (layers, batch, frames, width)
    return {
        "shift": stacked.mean(axis=(1, 2)),
        "scale": 1.0 / (stacked.std(axis=(1, 2)) + 1e-5),
    }


def measured(head: nn.Module, hidden: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Returns the statistics of a head, its ``batch_stats``.

    Call it in the head's compact method.

    Args:
      head: the module that is being applied.
      hidden: (batch, frames, width), one array per layer.

    Returns:
      ``shift`` and ``scale``, (layers, width) each; see ``statistics``.
    """
    shape = (len(hidden), hidden[0].shape[-1])
    shift = head.variable("batch_stats", "shift", jnp.zeros, shape).value
    return shift, head.variable("batch_stats", "scale", jnp.ones, shape).value


def standardised(head: nn.Module, hidden: list[jax.Array]) -> list[jax.Array]:
    """Standardises every channel of every layer, in the head's compact method.

    Args:
      head: the module that is being applied.
      hidden: (batch, frames, width), one array per layer.

    Returns:
      The same shapes.
    """
    shift, scale = measured(head, hidden)
    return [(h - m) * s for h, m, s in zip(hidden, shift, scale, strict=True)]


def mean_over_frames(frames: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Averages over the frames of each utterance.

    Args:
      frames: (batch, frames, width).
      mask: (batch, frames) bool, False for padding; None without padding.

    Returns:
      (batch, width).
    """
    if mask is None:
        return frames.mean(axis=1)
    inside = mask[..., None]
    total = jnp.where(inside, frames, 0).sum(axis=1)
    return total / inside.sum(axis=1)


def weighted_sum(hidden: list[jax.Array], weights: jax.Array) -> jax.Array:
    """Adds the layers, each times its weight.

    Args:
      hidden: (batch, frames, width), one array per layer.
      weights: (layers,), or (batch, layers) for weights of each utterance.

    Returns:
      (batch, frames, width).
    """
    by_layer = jnp.moveaxis(weights, -1, 0)[..., None, None]
    terms = (h * w for h, w in zip(hidden, by_layer, strict=True))
    return cast(jax.Array, sum(terms))
