"""Whisper's audio encoder as a front-end: waveform → log-mel → frames.

Radford et al. 2022 (arXiv 2212.04356): trained for speech recognition with supervision,
not self-supervised like XLS-R. As a front-end for deepfake detection: Kawa et al.,
Interspeech 2023 (arXiv 2306.01428). Matches ``transformers`` ``WhisperEncoder`` and
``WhisperFeatureExtractor`` (tests/parity), except that the input may have any length up
to 30 s: the sinusoidal positions are truncated instead of padding the input.
"""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mldg_jax.common.numba_cache import import_librosa
from mldg_jax.models.layers import TransformerLayer, gelu, transformer

SAMPLE_RATE = 16_000
WINDOW, HOP = 400, 160  # samples: 25 ms, 10 ms


@functools.lru_cache
def mel_filters(mels: int) -> np.ndarray:
    """Computes Slaney's mel filters.

    Args:
      mels: number of mel bands.

    Returns:
      (window / 2 + 1, mels) float32.
    """
    return import_librosa().filters.mel(sr=SAMPLE_RATE, n_fft=WINDOW, n_mels=mels).T


def log_mel(waveform: jax.Array, mels: int = 80) -> jax.Array:
    """Computes Whisper's log-mel spectrogram.

    Args:
      waveform: (batch, samples), 16 kHz, within [-1, 1], at least 400 samples.
      mels: number of mel bands.

    Returns:
      (batch, samples // 160, mels), roughly within [-1, 2]. Each utterance's log10
      power is floored at 8 below its own maximum.
    """
    half = WINDOW // 2
    padded = jnp.pad(waveform, ((0, 0), (half, half)), mode="reflect")
    frames = waveform.shape[-1] // HOP
    index = HOP * np.arange(frames)[:, None] + np.arange(WINDOW)[None]
    windows = padded[:, index]  # (batch, frames, window)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    spectrum = jnp.fft.rfft(windows * hann.astype(waveform.dtype))
    power = spectrum.real**2 + spectrum.imag**2  # (batch, frames, bins)
    # Full precision on TPU too: the spectrogram is a measurement, not a layer.
    mel = jnp.matmul(power, mel_filters(mels), precision="highest")
    log = jnp.log10(jnp.maximum(mel, 1e-10))
    log = jnp.maximum(log, log.max(axis=(1, 2), keepdims=True) - 8.0)
    return (log + 4.0) / 4.0


class WhisperEncoder(nn.Module):
    """Whisper's encoder; the defaults are those of tiny and tiny.en.

    Attributes:
      layers, dim, heads, hidden: depth, width, attention heads, feed-forward width.
      mels: number of mel bands of the input.
      positions: maximum input length in frames of 20 ms.
      lora_scale, lora_dropout, dtype: see ``LoRADense``. The log-mel spectrogram is
        computed in the waveform's dtype; the parameters may be float32.
      remat, scan: see ``transformer``.
    """

    layers: int = 4
    dim: int = 384
    heads: int = 6
    hidden: int = 1536
    mels: int = 80
    positions: int = 1500
    lora_scale: float = 1.0
    lora_dropout: float = 0.0
    dtype: Any = None
    remat: bool = False
    scan: bool = False

    @nn.compact
    def __call__(
        self, waveform: jax.Array, *, train: bool = False, hidden_states: bool = False
    ) -> Any:
        """Encodes speech.

        Args:
          waveform: (batch, samples) float32, 16 kHz, within [-1, 1], 400 samples to
            30 s. Or (batch, frames, dim), the output of ``frontend_prefix``.
          train: whether LoRA dropout is on.
          hidden_states: whether to return the hidden states too.

        Returns:
          The normalised output (batch, frames, dim) at 50 frames per second. With
          ``hidden_states`` a pair of that and a list of ``layers + 1`` such arrays: the
          stem's and every layer's output, before the last normalisation.
        """
        x = waveform if waveform.ndim == 3 else self._stem(waveform)
        batch, frames, _ = x.shape
        layer = TransformerLayer(
            self.heads,
            self.hidden,
            key_bias=False,
            lora_scale=self.lora_scale,
            lora_dropout=self.lora_dropout,
            dtype=self.dtype,
            parent=None,
        )
        x = x.reshape(batch * frames, self.dim)
        states = transformer(self, layer, x, batch, None, train)
        norm = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, name="final_norm")
        outputs = [norm(states[-1]), *states]
        x, *states = (y.reshape(batch, frames, self.dim) for y in outputs)
        return (x, states) if hidden_states else x

    def _stem(self, waveform: jax.Array) -> jax.Array:
        mel = log_mel(waveform, self.mels)
        x = gelu(self._conv("conv1", 1)(mel))
        x = gelu(self._conv("conv2", 2)(x))
        positions = self.param("positions", _sinusoids, (self.positions, self.dim))
        return x + positions[: x.shape[1]].astype(x.dtype)

    def _conv(self, name: str, stride: int) -> nn.Conv:
        padding, dtype = [(1, 1)], self.dtype
        return nn.Conv(self.dim, (3,), stride, padding, dtype=dtype, name=name)


def _sinusoids(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Returns Whisper's fixed positions: sines, then cosines, periods up to 10,000."""
    del key
    length, channels = shape
    rate = np.log(10_000) / (channels // 2 - 1)
    angle = np.arange(length)[:, None] * np.exp(-rate * np.arange(channels // 2))
    return jnp.asarray(np.concatenate([np.sin(angle), np.cos(angle)], 1), jnp.float32)


# Our attribute, transformers' name for it and its value in tiny.
HF_NAMES: dict[str, tuple[str, Any]] = {
    "layers": ("encoder_layers", 4),
    "dim": ("d_model", 384),
    "heads": ("encoder_attention_heads", 6),
    "hidden": ("encoder_ffn_dim", 1536),
    "mels": ("num_mel_bins", 80),
    "positions": ("max_source_positions", 1500),
}


def from_hf(config: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a ``transformers`` config to attributes of ``WhisperEncoder``.

    Args:
      config: content of config.json; missing keys have the values of Whisper tiny.

    Returns:
      Keyword arguments of ``WhisperEncoder``.

    Raises:
      ValueError: ``model_type`` is not "whisper", or the activation is not "gelu".
    """
    for name, value in (("model_type", "whisper"), ("activation_function", "gelu")):
        if config.get(name, value) != value:
            raise ValueError(f"{name} is {config[name]!r}; it must be {value!r}")
    return {
        ours: config.get(theirs, default)
        for ours, (theirs, default) in HF_NAMES.items()
    }


def to_hf(model: WhisperEncoder) -> dict[str, Any]:
    """Converts a model's attributes to a ``transformers`` config.

    Args:
      model: the encoder.

    Returns:
      Content of config.json; the inverse of ``from_hf``.
    """
    return {
        "model_type": "whisper",
        "architectures": ["WhisperEncoder"],
        **{theirs: getattr(model, ours) for ours, (theirs, _) in HF_NAMES.items()},
    }
