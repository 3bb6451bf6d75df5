"""The convolutions below the transformers of wav2vec 2.0, HuBERT and WavLM."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mldg_jax.models.layers import gelu


class Extractor(nn.Module):
    """Convolutions, waveform → (batch, frames, channels): by default 20 ms per frame.

    Attributes:
      channels, kernels, strides: one value per convolution.
      use_bias: whether the convolutions have a bias.
      norm: "layer" normalises the channels after every convolution; "group" normalises
        each channel over time after the first convolution.
      dtype: compute dtype after the first convolution, which takes the waveform in full
        precision on every platform.
    """

    channels: tuple[int, ...]
    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    use_bias: bool
    norm: str
    dtype: Any = None

    @nn.compact
    def __call__(self, waveform: jax.Array) -> jax.Array:
        """Maps (batch, samples) to (batch, frames, channels)."""
        x = waveform[..., None]  # (batch, samples, 1)
        shapes = zip(self.channels, self.kernels, self.strides, strict=True)
        for i, (channels, width, stride) in enumerate(shapes):
            x = nn.Conv(
                channels,
                (width,),
                stride,
                padding="VALID",
                use_bias=self.use_bias,
                dtype=self.dtype if i else None,
                precision=None if i else "highest",
                name=f"conv_{i}",
            )(x)
            if self.norm == "layer":
                x = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, name=f"norm_{i}")(x)
            elif i == 0:
                x = nn.GroupNorm(
                    num_groups=None,
                    group_size=1,
                    epsilon=1e-5,
                    dtype=self.dtype,
                    name="norm_0",
                )(x)
            x = gelu(x)
        return x


def standardize(waveform: jax.Array, lengths: jax.Array | None) -> jax.Array:
    """Standardises every waveform to mean 0 and variance 1.

    Args:
      waveform: (batch, samples).
      lengths: (batch,) int, number of samples before padding; None without padding.

    Returns:
      (batch, samples); padding is 0. 1e-7 is added to the variance.
    """
    samples = waveform.shape[-1]
    if lengths is None:
        lengths = jnp.full(waveform.shape[:1], samples)
    inside = np.arange(samples) < lengths[:, None]
    mean = jnp.where(inside, waveform, 0).sum(1, keepdims=True) / lengths[:, None]
    centred = jnp.where(inside, waveform - mean, 0)
    variance = (centred**2).sum(1, keepdims=True) / lengths[:, None]
    return centred / jnp.sqrt(variance + 1e-7)


def mask_frames(
    module: Any,
    x: jax.Array,
    lengths: jax.Array | None,
    masked: jax.Array | None,
) -> tuple[jax.Array, jax.Array | None]:
    """Replaces masked frames by the mask embedding, and padding by zeros.

    Call it in the module's compact method: the embedding is the module's parameter.

    Args:
      module: an encoder with ``mask_embedding``, ``dim`` and ``frame_count``.
      x: (batch, frames, dim).
      lengths: (batch,) int, samples of each utterance before padding; None for all.
      masked: (batch, frames) bool; None for none.

    Returns:
      The frames, and (batch, frames) bool, False for padding; None without ``lengths``.
    """
    if module.mask_embedding:
        init = nn.initializers.uniform(1.0)
        embedding = module.param("mask_embedding", init, (module.dim,))
        if masked is not None:
            x = jnp.where(masked[..., None], embedding.astype(x.dtype), x)
    if lengths is None:
        return x, None
    mask = np.arange(x.shape[1]) < module.frame_count(lengths)[:, None]
    return jnp.where(mask[..., None], x, 0), mask
