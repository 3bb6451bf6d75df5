"""HuBERT as a front-end: waveform → frames.

Hsu et al. 2021 (arXiv 2106.07447). Its encoder is that of wav2vec 2.0; the training
differs. Matches ``transformers`` ``HubertModel`` (tests/parity). The defaults are those
of HuBERT large: 315,438,720 parameters. HuBERT base has the attributes of wav2vec 2.0
base.
"""

from collections.abc import Mapping
from typing import Any

import jax

from mldg_jax.models import wav2vec2
from mldg_jax.models.wav2vec2 import Wav2Vec2


class HuBERT(Wav2Vec2):
    """The encoder of HuBERT.

    Attributes:
      normalize_channels: whether the output of the convolutions is normalised; off in
        DistilHuBERT.
    """

    normalize_channels: bool = True

    def _normalize_channels(self, x: jax.Array) -> jax.Array:
        return super()._normalize_channels(x) if self.normalize_channels else x


HF_NAMES = {
    **wav2vec2.HF_NAMES,
    "normalize_channels": ("feat_proj_layer_norm", True),
}


def from_hf(config: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a ``transformers`` config to attributes of ``HuBERT``.

    Args:
      config: content of config.json.

    Returns:
      Keyword arguments of ``HuBERT``.

    Raises:
      ValueError: as ``wav2vec2.from_hf``.
    """
    return wav2vec2.from_hf(config, "hubert", HF_NAMES)


def to_hf(model: HuBERT) -> dict[str, Any]:
    """Converts a model's attributes to a ``transformers`` config.

    Args:
      model: the encoder.

    Returns:
      Content of config.json; the inverse of ``from_hf``.
    """
    return wav2vec2.to_hf(model, "hubert", "HubertModel", HF_NAMES)
