"""wav2vec 2.0 as a front-end: waveform → frames, for all public models of the family.

Baevski et al. 2020 (arXiv 2006.11477); XLS-R: Babu et al. 2021 (arXiv 2111.09296).
Matches ``transformers`` ``Wav2Vec2Model`` in evaluation mode (tests/parity). The
defaults are those of XLS-R 300M, the paper's front-end: 315,438,720 parameters.

Apart from their sizes, models differ in three attributes: ``extractor_norm`` ("group"
in base models, "layer" in large ones and XLS-R), ``conv_bias``, and ``pre_norm`` (off
in base models).
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mldg_jax.models.layers import TransformerLayer, gelu, transformer
from mldg_jax.models.positional import PositionalConv

SAMPLE_RATE = 16_000


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


class Wav2Vec2(nn.Module):
    """The encoder of wav2vec 2.0.

    Attributes:
      layers, dim, heads, hidden: depth, width, attention heads, feed-forward width.
      channels, kernels, strides, conv_bias, extractor_norm: see ``Extractor``.
      pre_norm: see ``TransformerLayer``.
      positional_width, positional_groups: see ``PositionalConv``.
      mask_embedding: whether there is an embedding for masked frames.
      normalize: whether to standardise every waveform to mean 0 and variance 1 first,
        as ``Wav2Vec2FeatureExtractor`` does for models with ``do_normalize``.
      lora_scale, lora_dropout, dtype: see ``LoRADense`` and ``Extractor``; the
        parameters may be float32 whatever the dtype.
      remat, scan: see ``transformer``.
    """

    layers: int = 24
    dim: int = 1024
    heads: int = 16
    hidden: int = 4096
    channels: tuple[int, ...] = (512,) * 7
    kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_bias: bool = True
    extractor_norm: str = "layer"
    pre_norm: bool = True
    positional_width: int = 128
    positional_groups: int = 16
    mask_embedding: bool = True
    normalize: bool = False
    lora_scale: float = 1.0
    lora_dropout: float = 0.0
    dtype: Any = None
    remat: bool = False
    scan: bool = False

    @nn.compact
    def __call__(
        self,
        waveform: jax.Array,
        lengths: jax.Array | None = None,
        *,
        masked: jax.Array | None = None,
        train: bool = False,
        hidden_states: bool = False,
    ) -> Any:
        """Encodes speech.

        Args:
          waveform: (batch, samples) float32, 16 kHz, at least 400 samples. Or (batch,
            frames, dim), the output of ``frontend_prefix``; ``lengths`` and ``masked``
            are then ignored.
          lengths: (batch,) int, number of samples of each utterance before padding at
            the end. With ``extractor_norm`` "layer" the padding does not change the
            frames of an utterance; frames past its end are meaningless.
          masked: (batch, frames) bool, frames to replace by the mask embedding.
          train: whether LoRA dropout is on.
          hidden_states: whether to return the hidden states too.

        Returns:
          (batch, frames, dim), ``frame_count(samples)`` frames. With ``hidden_states``
          a pair of that and a list of ``layers + 1`` such arrays: the transformer's
          input and every layer's output, before the last normalisation.
        """
        if waveform.ndim == 3:
            return self._transformer(waveform, None, train, hidden_states, True)
        if self.normalize:
            waveform = standardize(waveform, lengths)
        x = self._extract(waveform)
        x = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, name="projection_norm")(x)
        batch, frames, _ = x.shape
        projection = nn.Dense(self.dim, dtype=self.dtype, name="projection")
        x = projection(x.reshape(batch * frames, -1))
        x = x.reshape(batch, frames, self.dim)
        if self.mask_embedding:
            embedding = self.param(
                "mask_embedding", nn.initializers.uniform(1.0), (self.dim,)
            )
            if masked is not None:
                x = jnp.where(masked[..., None], embedding.astype(x.dtype), x)
        mask = None
        if lengths is not None:
            mask = np.arange(frames) < self.frame_count(lengths)[:, None]
            x = jnp.where(mask[..., None], x, 0)
        x = x + PositionalConv(
            self.positional_width, self.positional_groups, name="positional"
        )(x)
        return self._transformer(x, mask, train, hidden_states)

    def _extract(self, waveform):
        extractor = Extractor(
            self.channels,
            self.kernels,
            self.strides,
            self.conv_bias,
            self.extractor_norm,
            self.dtype,
            parent=None,
        )
        params = self.param(
            "extractor", lambda key: extractor.init(key, waveform[:1])["params"]
        )

        def batched(waveform):
            return extractor.apply({"params": params}, waveform)

        def one_by_one(waveform):
            return jax.lax.map(lambda x: batched(x[None])[0], waveform)

        # The first layer's output for 4 s is 26 MB: a whole batch does not fit into
        # the caches, and the CPU's allocator maps fresh pages at every call.
        return jax.lax.platform_dependent(waveform, cpu=one_by_one, default=batched)

    def _transformer(self, x, mask, train, hidden_states, normed=False):
        batch, frames, dim = x.shape
        norm = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, name="encoder_norm")
        x = x.reshape(batch * frames, dim)
        if not (self.pre_norm or normed):
            x = norm(x)
        layer = TransformerLayer(
            self.heads,
            self.hidden,
            self.pre_norm,
            lora_scale=self.lora_scale,
            lora_dropout=self.lora_dropout,
            dtype=self.dtype,
            parent=None,
        )
        states = transformer(self, layer, x, batch, mask, train)
        x = states[-1]
        if self.pre_norm:
            x = norm(x)
        x, *states = (y.reshape(batch, frames, dim) for y in (x, *states))
        return (x, states) if hidden_states else x

    def frame_count(self, samples: Any) -> Any:
        """Computes the number of frames for a number of samples.

        Args:
          samples: an int or an integer array of any shape.

        Returns:
          The number of frames, of the same type and shape.
        """
        for width, stride in zip(self.kernels, self.strides, strict=True):
            samples = (samples - width) // stride + 1
        return samples


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


# Our attribute, transformers' name for it and its default there.
HF_NAMES: dict[str, tuple[str, Any]] = {
    "layers": ("num_hidden_layers", 12),
    "dim": ("hidden_size", 768),
    "heads": ("num_attention_heads", 12),
    "hidden": ("intermediate_size", 3072),
    "channels": ("conv_dim", (512,) * 7),
    "kernels": ("conv_kernel", (10, 3, 3, 3, 3, 2, 2)),
    "strides": ("conv_stride", (5, 2, 2, 2, 2, 2, 2)),
    "conv_bias": ("conv_bias", False),
    "extractor_norm": ("feat_extract_norm", "group"),
    "pre_norm": ("do_stable_layer_norm", False),
    "positional_width": ("num_conv_pos_embeddings", 128),
    "positional_groups": ("num_conv_pos_embedding_groups", 16),
}


def from_hf(config: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a ``transformers`` config to attributes of ``Wav2Vec2``.

    Args:
      config: content of config.json; missing keys have the defaults of
        ``transformers``.

    Returns:
      Keyword arguments of ``Wav2Vec2``.

    Raises:
      ValueError: ``model_type`` is not "wav2vec2", an activation is not "gelu",
        ``layer_norm_eps`` is not 1e-5 or ``add_adapter`` is on.
    """
    kind = config.get("model_type", "wav2vec2")
    if kind != "wav2vec2":
        raise ValueError(f"model_type is {kind!r}; it must be 'wav2vec2'")
    for name in ("hidden_act", "feat_extract_activation"):
        if config.get(name, "gelu") != "gelu":
            raise ValueError(f"{name} is {config[name]!r}; only 'gelu' is supported")
    epsilon = config.get("layer_norm_eps", 1e-5)
    if epsilon != 1e-5 or config.get("add_adapter", False):
        raise ValueError(
            f"layer_norm_eps is {epsilon} and add_adapter is "
            f"{config.get('add_adapter', False)}; only 1e-5 and False are supported"
        )
    values = {
        ours: config.get(theirs, default)
        for ours, (theirs, default) in HF_NAMES.items()
    }
    masks = (config.get("mask_time_prob", 0.05), config.get("mask_feature_prob", 0.0))
    return {
        **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()},
        "mask_embedding": any(p > 0 for p in masks),
    }


def to_hf(model: Wav2Vec2) -> dict[str, Any]:
    """Converts a model's attributes to a ``transformers`` config.

    Args:
      model: the encoder.

    Returns:
      Content of config.json; the inverse of ``from_hf``.
    """
    values = {theirs: getattr(model, ours) for ours, (theirs, _) in HF_NAMES.items()}
    return {
        "model_type": "wav2vec2",
        "architectures": ["Wav2Vec2Model"],
        "num_feat_extract_layers": len(model.channels),
        "mask_time_prob": 0.05 if model.mask_embedding else 0.0,
        **{k: list(v) if isinstance(v, tuple) else v for k, v in values.items()},
    }
