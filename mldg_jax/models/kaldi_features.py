"""The log-mel input of w2v-BERT 2.0: Kaldi's filter banks, two frames side by side.

As ``SeamlessM4TFeatureExtractor`` of ``transformers`` makes it (tests/parity).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SAMPLE_RATE = 16_000
WINDOW, HOP, FFT = 400, 160, 512  # samples: 25 ms, 10 ms
LOWEST = 20.0  # Hz
STACKED = 2  # frames of 10 ms in a frame of the encoder
FLOOR = 2.0**-23  # of the power in a band, for samples in the range of 16 bits


@functools.lru_cache
def kaldi_filters(mels: int) -> np.ndarray:
    """Computes Kaldi's mel filters: triangles on the mel axis, of height 1.

    Args:
      mels: number of mel bands, from 20 Hz to 8 kHz.

    Returns:
      (FFT / 2 + 1, mels) float64.
    """

    def mel(hertz):
        return 1127.0 * np.log1p(hertz / 700.0)

    edges = np.linspace(mel(LOWEST), mel(SAMPLE_RATE / 2), mels + 2)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    bins = mel(np.arange(FFT // 2 + 1) * SAMPLE_RATE / FFT)[:, None]
    rising, falling = (
        (bins - lower) / (centre - lower),
        (upper - bins) / (upper - centre),
    )
    return np.maximum(0.0, np.minimum(rising, falling))


def fbank_count(samples: Any) -> Any:
    """Computes the number of frames of 10 ms.

    Args:
      samples: an int or an integer array.

    Returns:
      The number of frames, of the same type and shape.
    """
    return (samples - WINDOW) // HOP + 1


def log_mel(
    waveform: jax.Array, mels: int = 80, lengths: jax.Array | None = None
) -> jax.Array:
    """Computes the input of the encoder.

    Args:
      waveform: (batch, samples), 16 kHz, within [-1, 1], at least 560 samples.
      mels: number of mel bands.
      lengths: (batch,) int, number of samples before padding; None without padding.

    Returns:
      (batch, frames, 2 · mels), 20 ms a frame. Over the frames of an utterance, each of
      the mel bands has mean 0 and variance 1. A last frame of 10 ms is left out.
    """
    count = fbank_count(waveform.shape[-1])
    mel = _fbank(waveform, mels)  # (batch, count, mels)
    inside = np.ones((1, count, 1), bool)
    if lengths is not None:
        inside = np.arange(count)[None, :, None] < fbank_count(lengths)[:, None, None]
    number = inside.sum(1, keepdims=True)
    mean = jnp.where(inside, mel, 0).sum(1, keepdims=True) / number
    centred = jnp.where(inside, mel - mean, 0)
    variance = (centred**2).sum(1, keepdims=True) / (number - 1)
    mel = centred / jnp.sqrt(variance + 1e-7)
    frames = count // STACKED
    return mel[:, : frames * STACKED].reshape(len(mel), frames, STACKED * mels)


def _fbank(waveform: jax.Array, mels: int) -> jax.Array:
    """Computes Kaldi's log filter banks, (batch, frames of 10 ms, mels)."""
    index = np.arange(fbank_count(waveform.shape[-1]))[:, None] * HOP
    windows = waveform[:, index + np.arange(WINDOW)] * 2.0**15  # 16 bits, as in Kaldi
    windows = windows - windows.mean(-1, keepdims=True)
    before = jnp.concatenate([windows[..., :1], windows[..., :-1]], -1)
    povey = np.hanning(WINDOW) ** 0.85
    windows = (windows - 0.97 * before) * povey.astype(waveform.dtype)
    spectrum = jnp.fft.rfft(windows, FFT)
    power = spectrum.real**2 + spectrum.imag**2
    # Full precision on TPU too: the spectrogram is a measurement, not a layer.
    filters = kaldi_filters(mels).astype(power.dtype)
    mel = jnp.matmul(power, filters, precision="highest")
    return jnp.log(jnp.maximum(mel, FLOOR))
