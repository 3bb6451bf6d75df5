"""wav2vec 2.0 of ``transformers`` with random weights.

python -m tests.parity.wav2vec2        writes tests/golden/wav2vec2.npz
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from tests.signals import speech_like

GOLDEN = Path(__file__).parents[1] / "golden" / "wav2vec2.npz"

LAYER_NORM = {
    "conv_bias": True,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
}
# Every combination of options among public models.
SHAPES = {
    "base": {},
    "xlsr": LAYER_NORM,
    "large": {"feat_extract_norm": "layer", "do_stable_layer_norm": False},
}
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embedding_groups": 4,
}
FULL = {
    "base": {},
    "large": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    },
}
FULL["xlsr"] = FULL["large"] | LAYER_NORM


def model(seed: int = 0, **options: Any) -> torch.nn.Module:
    """Returns a ``Wav2Vec2Model`` in evaluation mode with random parameters.

    Args:
      seed: of the parameters.
      options: of ``Wav2Vec2Config``.
    """
    torch.manual_seed(seed)
    config = transformers.Wav2Vec2Config(**options)
    network = transformers.Wav2Vec2Model(config).eval()
    for parameter in network.parameters():  # norms start at one and biases at zero
        parameter.data += 0.02 * torch.randn_like(parameter)
    return network


def state(made: torch.nn.Module) -> dict[str, np.ndarray]:
    """Returns the parameters of a torch model as arrays by name.

    Args:
      made: the model.
    """
    return {name: value.numpy() for name, value in made.state_dict().items()}


def hidden_states(made: torch.nn.Module, waveform: np.ndarray) -> list[np.ndarray]:
    """Returns the transformer's input, every layer's output and the final frames.

    Args:
      made: the model.
      waveform: (batch, samples).
    """
    layers = []
    hooks = [
        layer.register_forward_hook(
            lambda _, __, out: layers.append(out[0] if isinstance(out, tuple) else out)
        )
        for layer in made.encoder.layers
    ]
    with torch.inference_mode():
        result = made(torch.tensor(waveform), output_hidden_states=True)
    for hook in hooks:
        hook.remove()
    states = [result.hidden_states[0], *layers, result.last_hidden_state]
    return [x.numpy() for x in states]


def freeze() -> None:
    """Writes the reference values for ``make test``, which does not need torch."""
    arrays: dict[str, Any] = {}
    waveform = speech_like(4_000)
    for name, shape in SHAPES.items():
        network = model(**SMALL, **shape)
        arrays[f"{name}/states"] = np.stack(hidden_states(network, waveform))
        arrays |= {f"{name}/param/{k}": v for k, v in state(network).items()}
    np.savez_compressed(GOLDEN, **arrays)


if __name__ == "__main__":
    freeze()
    print(f"{GOLDEN}: {GOLDEN.stat().st_size / 1024:.0f} KiB")
