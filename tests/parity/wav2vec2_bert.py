"""w2v-BERT 2.0 of ``transformers`` with random weights."""

from typing import Any

import numpy as np
import torch
import transformers

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "left_max_position_embeddings": 6,
    "right_max_position_embeddings": 3,
    "conv_depthwise_kernel_size": 5,
}


def model(seed: int = 0, **options: Any) -> torch.nn.Module:
    """Returns a ``Wav2Vec2BertModel`` in evaluation mode with random parameters.

    Args:
      seed: of the parameters.
      options: of ``Wav2Vec2BertConfig``.
    """
    torch.manual_seed(seed)
    config = transformers.Wav2Vec2BertConfig(**options)
    network = transformers.Wav2Vec2BertModel(config).eval()
    for parameter in network.parameters():  # norms start at one and biases at zero
        parameter.data += 0.02 * torch.randn_like(parameter)
    return network


def features(waveforms: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the input and the attention mask of the public model's extractor.

    Args:
      waveforms: (samples,) each, at 16 kHz.
    """
    extractor = transformers.SeamlessM4TFeatureExtractor(padding_value=1)
    batch = extractor(waveforms, sampling_rate=16_000, return_tensors="np")
    return batch["input_features"], batch["attention_mask"]


def hidden_states(
    made: torch.nn.Module, mel: np.ndarray, mask: np.ndarray | None = None
) -> list[np.ndarray]:
    """Returns the first layer's input, every layer's output and the final frames.

    Args:
      made: the model.
      mel: (batch, frames, 160).
      mask: (batch, frames), 0 for padding; None for none.
    """
    given = None if mask is None else torch.tensor(mask)
    with torch.inference_mode():
        result = made(torch.tensor(mel), given, output_hidden_states=True)
    return [x.numpy() for x in (*result.hidden_states, result.last_hidden_state)]
