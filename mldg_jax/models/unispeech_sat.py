"""UniSpeech-SAT as a front-end: waveform → frames.

Chen et al. 2021 (arXiv 2110.05752): HuBERT trained to tell speakers apart too. Its
encoder is that of wav2vec 2.0. Matches ``transformers`` ``UniSpeechSatModel``
(tests/parity). The defaults are those of UniSpeech-SAT large, 315,438,720 parameters;
UniSpeech-SAT base and base+ have the attributes of wav2vec 2.0 base.
"""

from collections.abc import Mapping
from typing import Any

from mldg_jax.models import wav2vec2
from mldg_jax.models.wav2vec2 import Wav2Vec2


class UniSpeechSAT(Wav2Vec2):
    """The encoder of UniSpeech-SAT."""


def from_hf(config: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a ``transformers`` config to attributes of ``UniSpeechSAT``.

    Args:
      config: content of config.json.

    Returns:
      Keyword arguments of ``UniSpeechSAT``.

    Raises:
      ValueError: as ``wav2vec2.from_hf``.
    """
    # Its class there has the embedding even if nothing is masked in training.
    return wav2vec2.from_hf(config, "unispeech-sat") | {"mask_embedding": True}


def to_hf(model: UniSpeechSAT) -> dict[str, Any]:
    """Converts a model's attributes to a ``transformers`` config.

    Args:
      model: the encoder.

    Returns:
      Content of config.json; the inverse of ``from_hf``.
    """
    return wav2vec2.to_hf(model, "unispeech-sat", "UniSpeechSatModel")
