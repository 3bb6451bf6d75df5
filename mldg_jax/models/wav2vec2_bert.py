"""w2v-BERT 2.0 as a front-end: waveform → log-mel → conformer → frames.

Seamless Communication et al. 2023 (arXiv 2312.05187). Matches ``Wav2Vec2BertModel`` and
``SeamlessM4TFeatureExtractor`` of ``transformers`` (tests/parity), except that a last
frame of 10 ms without a second half is left out instead of masked. The defaults are
those of the public model.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

from mldg_jax.models import wav2vec2
from mldg_jax.models.conformer import ConformerLayer
from mldg_jax.models.extractor import mask_frames
from mldg_jax.models.kaldi_features import STACKED, fbank_count, log_mel
from mldg_jax.models.layers import transformer


class Wav2Vec2Bert(nn.Module):
    """The encoder of w2v-BERT 2.0.

    Attributes:
      layers, dim, heads, hidden: depth, width, attention heads, feed-forward width.
      mels: number of mel bands of the input.
      taps, left, right: see ``ConformerLayer``.
      mask_embedding: whether there is an embedding for masked frames.
      lora_scale, lora_dropout, dtype: see ``LoRADense``. The log-mel spectrogram is
        computed in the waveform's dtype; the parameters may be float32.
      remat, scan: see ``transformer``.
    """

    layers: int = 24
    dim: int = 1024
    heads: int = 16
    hidden: int = 4096
    mels: int = 80
    taps: int = 31
    left: int = 64
    right: int = 8
    mask_embedding: bool = True
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
          waveform: (batch, samples) float32, 16 kHz, within [-1, 1], at least 560
            samples. Or (batch, frames, dim), the output of ``frontend_prefix``;
            ``lengths`` and ``masked`` are then ignored.
          lengths: (batch,) int, number of samples of each utterance before padding at
            the end, at least 560 each. The padding does not change the frames of an
            utterance; frames past its end are meaningless.
          masked: (batch, frames) bool, frames to replace by the mask embedding.
          train: whether LoRA dropout is on.
          hidden_states: whether to return the hidden states too.

        Returns:
          (batch, frames, dim), ``frame_count(samples)`` frames of 20 ms. With
          ``hidden_states`` a pair of that and a list of ``layers + 1`` such arrays: the
          first layer's input and every layer's output. The last is the frames.
        """
        x, mask = waveform, None
        if waveform.ndim == 2:
            x, mask = self._stem(waveform, lengths, masked)
        batch, frames, dim = x.shape
        layer = ConformerLayer(
            self.heads,
            self.hidden,
            self.taps,
            self.left,
            self.right,
            lora_scale=self.lora_scale,
            lora_dropout=self.lora_dropout,
            dtype=self.dtype,
            parent=None,
        )
        x = x.reshape(batch * frames, dim)
        states = transformer(self, layer, x, batch, mask, train)
        states = [y.reshape(batch, frames, dim) for y in states]
        return (states[-1], states) if hidden_states else states[-1]

    def _stem(self, waveform, lengths, masked):
        """Returns the first layer's input and which of its frames are no padding."""
        mel = log_mel(waveform, self.mels, lengths)
        batch, frames, _ = mel.shape
        mel = mel.reshape(batch * frames, -1)
        norm = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, name="projection_norm")
        x = nn.Dense(self.dim, dtype=self.dtype, name="projection")(norm(mel))
        x = x.reshape(batch, frames, self.dim)
        return mask_frames(self, x, lengths, masked)

    def frame_count(self, samples: Any) -> Any:
        """Computes the number of frames for a number of samples.

        Args:
          samples: an int or an integer array of any shape.

        Returns:
          The number of frames, of the same type and shape.
        """
        return fbank_count(samples) // STACKED


# Our attribute, transformers' name for it and its default there.
HF_NAMES: wav2vec2.Names = {
    "layers": ("num_hidden_layers", 24),
    "dim": ("hidden_size", 1024),
    "heads": ("num_attention_heads", 16),
    "hidden": ("intermediate_size", 4096),
    "taps": ("conv_depthwise_kernel_size", 31),
    "left": ("left_max_position_embeddings", 64),
    "right": ("right_max_position_embeddings", 8),
}
# Other settings there, with the values of what we compute.
_FIXED: dict[str, tuple[Any, ...]] = {
    "model_type": ("wav2vec2-bert",),
    "hidden_act": ("swish", "silu"),
    "position_embeddings_type": ("relative_key",),
    "layer_norm_eps": (1e-5,),
    "add_adapter": (False,),
}


def from_hf(config: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a ``transformers`` config to attributes of ``Wav2Vec2Bert``.

    Args:
      config: content of config.json; missing keys have the defaults of
        ``transformers``.

    Returns:
      Keyword arguments of ``Wav2Vec2Bert``.

    Raises:
      ValueError: a setting has a value that we do not compute.
    """
    for name, values in _FIXED.items():
        if config.get(name, values[0]) not in values:
            raise ValueError(f"{name} is {config[name]!r}; it must be {values[0]!r}")
    width = config.get("feature_projection_input_dim", 160)
    if width % STACKED:
        raise ValueError(f"feature_projection_input_dim is {width}; it must be even")
    values = {
        ours: config.get(theirs, default)
        for ours, (theirs, default) in HF_NAMES.items()
    }
    values["mask_embedding"] = wav2vec2.has_mask_embedding(config)
    return values | {"mels": width // STACKED}


def to_hf(model: Wav2Vec2Bert) -> dict[str, Any]:
    """Converts a model's attributes to a ``transformers`` config.

    Args:
      model: the encoder.

    Returns:
      Content of config.json; the inverse of ``from_hf``.
    """
    return {
        "architectures": ["Wav2Vec2BertModel"],
        **{name: values[0] for name, values in _FIXED.items()},
        "feature_projection_input_dim": model.mels * STACKED,
        "mask_time_prob": 0.05 if model.mask_embedding else 0.0,
        **{theirs: getattr(model, ours) for ours, (theirs, _) in HF_NAMES.items()},
    }
