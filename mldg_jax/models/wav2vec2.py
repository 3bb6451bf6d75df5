"""wav2vec 2.0 as a front-end: waveform → frames, for all public models of the family.

Baevski et al. 2020 (arXiv 2006.11477); XLS-R: Babu et al. 2021 (arXiv 2111.09296); MMS:
Pratap et al. 2023 (arXiv 2305.13516). Matches ``transformers`` ``Wav2Vec2Model`` in
evaluation mode (tests/parity). The defaults are those of XLS-R 300M, the paper's
front-end: 315,438,720 parameters.

Apart from their sizes, models differ in three attributes: ``extractor_norm`` ("group"
in base models, "layer" in large ones and XLS-R), ``conv_bias``, and ``pre_norm`` (off
in base models).
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

from mldg_jax.models.extractor import Extractor, mask_frames, standardize
from mldg_jax.models.layers import TransformerLayer, transformer
from mldg_jax.models.positional import PositionalConv

SAMPLE_RATE = 16_000


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
    layer_class = TransformerLayer  # not a field: other models of the family differ

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
        x = self._normalize_channels(self._extract(waveform))
        batch, frames, _ = x.shape
        projection = nn.Dense(self.dim, dtype=self.dtype, name="projection")
        x = projection(x.reshape(batch * frames, -1))
        x = x.reshape(batch, frames, self.dim)
        x, mask = mask_frames(self, x, lengths, masked)
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

    def _normalize_channels(self, x):
        norm = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, name="projection_norm")
        return norm(x)

    def _transformer(self, x, mask, train, hidden_states, normed=False):
        batch, frames, dim = x.shape
        norm = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, name="encoder_norm")
        x = x.reshape(batch * frames, dim)
        if not (self.pre_norm or normed):
            x = norm(x)
        layer = self.layer_class(
            self.heads,
            self.hidden,
            self.pre_norm,
            lora_scale=self.lora_scale,
            lora_dropout=self.lora_dropout,
            dtype=self.dtype,
            parent=None,
        )
        positions = self._positions(frames) if self.layers else None
        states = transformer(self, layer, x, batch, mask, train, positions)
        x = states[-1]
        if self.pre_norm:
            x = norm(x)
        x, *states = (y.reshape(batch, frames, dim) for y in (x, *states))
        return (x, states) if hidden_states else x

    def _positions(self, frames: int) -> jax.Array | None:
        """Returns what all layers get about positions; see ``SelfAttention``."""
        return None

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


# Our attribute, transformers' name for it and its default there.
Names = dict[str, tuple[str, Any]]
HF_NAMES: Names = {
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
# Settings of transformers that add something that we do not compute, and the reason.
_UNSUPPORTED = {
    "add_adapter": "only False is supported",
    "adapter_attn_dim": "models with adapters for languages (mms-1b-all) are not "
    "supported; choose a pretrained one, such as facebook/mms-300m or facebook/mms-1b",
    "conv_pos_batch_norm": "only False is supported",
}


def from_hf(
    config: Mapping[str, Any], kind: str = "wav2vec2", names: Names = HF_NAMES
) -> dict[str, Any]:
    """Converts a ``transformers`` config to attributes of ``Wav2Vec2``.

    Args:
      config: content of config.json; missing keys have the defaults of
        ``transformers``.
      kind: the ``model_type`` that the config must have: of this family.
      names: our attribute → its name there, and the default there.

    Returns:
      Keyword arguments of the front-end's class.

    Raises:
      ValueError: ``model_type`` is not ``kind``, an activation is not "gelu",
        ``layer_norm_eps`` is not 1e-5, or the model has a part that ours lacks.
    """
    theirs = config.get("model_type", kind)
    if theirs != kind:
        raise ValueError(f"model_type is {theirs!r}; it must be {kind!r}")
    for name in ("hidden_act", "feat_extract_activation"):
        if config.get(name, "gelu") != "gelu":
            raise ValueError(f"{name} is {config[name]!r}; only 'gelu' is supported")
    epsilon = config.get("layer_norm_eps", 1e-5)
    if epsilon != 1e-5:
        raise ValueError(f"layer_norm_eps is {epsilon}; only 1e-5 is supported")
    for name, reason in _UNSUPPORTED.items():
        if config.get(name):
            raise ValueError(f"{name} is {config[name]!r}; {reason}")
    values = {
        ours: config.get(theirs, default) for ours, (theirs, default) in names.items()
    }
    return {
        **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()},
        "mask_embedding": has_mask_embedding(config),
    }


def has_mask_embedding(config: Mapping[str, Any]) -> bool:
    """Returns whether a model of ``transformers`` has an embedding for masked frames.

    Args:
      config: content of config.json.

    Returns:
      True if its config masks anything in training.
    """
    masks = (config.get("mask_time_prob", 0.05), config.get("mask_feature_prob", 0.0))
    return any(p > 0 for p in masks)


def to_hf(
    model: Wav2Vec2,
    kind: str = "wav2vec2",
    architecture: str = "Wav2Vec2Model",
    names: Names = HF_NAMES,
) -> dict[str, Any]:
    """Converts a model's attributes to a ``transformers`` config.

    Args:
      model: the encoder.
      kind, names: as for ``from_hf``.
      architecture: the class there.

    Returns:
      Content of config.json; the inverse of ``from_hf``.
    """
    values = {theirs: getattr(model, ours) for ours, (theirs, _) in names.items()}
    return {
        "model_type": kind,
        "architectures": [architecture],
        "num_feat_extract_layers": len(values["conv_dim"]),
        "mask_time_prob": 0.05 if model.mask_embedding else 0.0,
        **{k: list(v) if isinstance(v, tuple) else v for k, v in values.items()},
    }
