"""The front-ends of this package: one table of everything that is known by kind."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn

from mldg_jax.models import (
    hubert,
    unispeech_sat,
    wav2vec2,
    wav2vec2_bert,
    wavlm,
    whisper,
)


class FrontEnd(NamedTuple):
    """A front-end and its counterpart in ``transformers``.

    Attributes:
      module: its class.
      from_hf: converts the content of config.json to attributes of the class.
      to_hf: converts a module to the content of config.json.
      whole: the class there that ``AutoModel`` gives.
      encoder: path of the encoder in it, with a dot at the end; "" for all of it.
      alone: package and class of the encoder alone.
    """

    module: type[nn.Module]
    from_hf: Callable[[Mapping[str, Any]], dict[str, Any]]
    to_hf: Callable[[Any], dict[str, Any]]
    whole: str
    encoder: str
    alone: tuple[str, str]


def _whole(module: type[nn.Module], source: Any, name: str) -> FrontEnd:
    """Describes a front-end whose counterpart has no other parts."""
    alone = ("transformers", name)
    return FrontEnd(module, source.from_hf, source.to_hf, name, "", alone)


KINDS = {
    "whisper": FrontEnd(
        whisper.WhisperEncoder,
        whisper.from_hf,
        whisper.to_hf,
        "WhisperModel",
        "encoder.",
        ("transformers.models.whisper.modeling_whisper", "WhisperEncoder"),
    ),
    "wav2vec2": _whole(wav2vec2.Wav2Vec2, wav2vec2, "Wav2Vec2Model"),
    "hubert": _whole(hubert.HuBERT, hubert, "HubertModel"),
    "wavlm": _whole(wavlm.WavLM, wavlm, "WavLMModel"),
    "unispeech_sat": _whole(
        unispeech_sat.UniSpeechSAT, unispeech_sat, "UniSpeechSatModel"
    ),
    "wav2vec2_bert": _whole(
        wav2vec2_bert.Wav2Vec2Bert, wav2vec2_bert, "Wav2Vec2BertModel"
    ),
}
# Those whose attention in transformers reads the weights of its projections and never
# calls them, so that adapters of peft have no effect there until they are merged.
READS_WEIGHTS = ("wavlm",)
# A config with one of these is that of transformers, not attributes of our class.
_FOREIGN = {
    "model_type",
    "hidden_size",
    "num_hidden_layers",
    "d_model",
    "encoder_layers",
}


def build(kind: str, config: Mapping[str, Any]) -> nn.Module:
    """Builds a front-end.

    Args:
      kind: a key of ``KINDS``.
      config: attributes of its class, or the content of config.json.

    Returns:
      The module, without parameters.

    Raises:
      ValueError: the class does not support the config.
    """
    chosen = KINDS[kind]
    is_foreign = _FOREIGN & config.keys()
    return chosen.module(**chosen.from_hf(config) if is_foreign else config)
