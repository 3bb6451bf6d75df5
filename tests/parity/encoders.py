"""The relatives of wav2vec 2.0 in ``transformers``, with random weights."""

from typing import Any, NamedTuple

import numpy as np
import torch
import transformers

from tests.parity.wav2vec2 import LAYER_NORM, SHAPES, SMALL, hidden_states

__all__ = ["CASES", "Case", "hidden_states", "model", "state"]

CLASSES = {
    "hubert": ("HubertConfig", "HubertModel"),
    "wavlm": ("WavLMConfig", "WavLMModel"),
    "unispeech_sat": ("UniSpeechSatConfig", "UniSpeechSatModel"),
}


class Case(NamedTuple):
    """A shape of public models.

    Attributes:
      kind: of the front-end.
      options: of the config in ``transformers``.
    """

    kind: str
    options: dict[str, Any]

    @property
    def has_masks(self) -> bool:
        """Whether padding does not change the frames of an utterance."""
        return self.options.get("feat_extract_norm") == "layer"


# WavLM large has no bias in its convolutions.
WAVLM_LARGE = LAYER_NORM | {"conv_bias": False}
# Distances beyond the last bucket within the 49 frames of a second.
BUCKETS = {"num_buckets": 16, "max_bucket_distance": 20}
CASES = {
    "hubert base": Case("hubert", SMALL | SHAPES["base"]),
    "hubert large": Case("hubert", SMALL | LAYER_NORM),
    "distilhubert": Case("hubert", SMALL | {"feat_proj_layer_norm": False}),
    "wavlm base": Case("wavlm", SMALL | SHAPES["base"] | BUCKETS),
    "wavlm large": Case("wavlm", SMALL | WAVLM_LARGE),
    "wavlm large, few buckets": Case("wavlm", SMALL | WAVLM_LARGE | BUCKETS),
    "unispeech-sat base": Case("unispeech_sat", SMALL | SHAPES["base"]),
    "unispeech-sat large": Case("unispeech_sat", SMALL | LAYER_NORM),
}


def model(case: Case, seed: int = 0, **options: Any) -> torch.nn.Module:
    """Returns a model in evaluation mode with random parameters.

    Args:
      case: its kind and shape.
      seed: of the parameters.
      options: of the config, in place of the case's.
    """
    torch.manual_seed(seed)
    config, network = (getattr(transformers, name) for name in CLASSES[case.kind])
    made = network(config(**case.options | options)).eval()
    for parameter in made.parameters():  # norms start at one and biases at zero
        parameter.data += 0.02 * torch.randn_like(parameter)
    return made


def state(made: torch.nn.Module) -> dict[str, np.ndarray]:
    """Returns the parameters of a torch model as arrays by name.

    Args:
      made: the model.
    """
    return {name: value.numpy() for name, value in made.state_dict().items()}
