"""WavLM as a front-end: waveform → frames.

Chen et al. 2021 (arXiv 2110.13900): wav2vec 2.0 with a gated relative position bias in
its attention. Matches ``transformers`` ``WavLMModel`` (tests/parity). The defaults are
those of WavLM large, whose convolutions have no bias; WavLM base and base+ have the
attributes of wav2vec 2.0 base.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

from mldg_jax.models import wav2vec2
from mldg_jax.models.layers import TransformerLayer
from mldg_jax.models.relative_positions import GatedAttention, distance_buckets
from mldg_jax.models.wav2vec2 import Wav2Vec2


class WavLMLayer(TransformerLayer):
    """A transformer layer with ``GatedAttention``."""

    attention_class = GatedAttention


class WavLM(Wav2Vec2):
    """The encoder of WavLM.

    Attributes:
      buckets, max_distance: see ``distance_buckets``.
    """

    conv_bias: bool = False
    buckets: int = 320
    max_distance: int = 800
    layer_class = WavLMLayer

    def _positions(self, frames: int) -> jax.Array:
        """Returns the bias (heads, frames, frames) before the layers' gates."""
        shape = (self.buckets, self.heads)
        bias = self.param("position_bias", nn.initializers.normal(1.0), shape)
        index = distance_buckets(frames, self.buckets, self.max_distance)
        return bias[index].transpose(2, 0, 1)


HF_NAMES = {
    **wav2vec2.HF_NAMES,
    "buckets": ("num_buckets", 320),
    "max_distance": ("max_bucket_distance", 800),
}


def from_hf(config: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a ``transformers`` config to attributes of ``WavLM``.

    Args:
      config: content of config.json.

    Returns:
      Keyword arguments of ``WavLM``.

    Raises:
      ValueError: as ``wav2vec2.from_hf``.
    """
    return wav2vec2.from_hf(config, "wavlm", HF_NAMES)


def to_hf(model: WavLM) -> dict[str, Any]:
    """Converts a model's attributes to a ``transformers`` config.

    Args:
      model: the encoder.

    Returns:
      Content of config.json; the inverse of ``from_hf``.
    """
    return wav2vec2.to_hf(model, "wavlm", "WavLMModel", HF_NAMES)
