"""Test signals, the same for frozen and live references."""

import numpy as np


def speech_like(samples: int, seed: int = 0) -> np.ndarray:
    """A voiced-sounding signal: gliding harmonics, syllable-rate bursts, noise.

    Returns:
      (2, samples) float32 within [-1, 1], at 16 kHz.
    """
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / 16_000
    clips = []
    for f0 in (110.0, 190.0):
        phase = 2 * np.pi * np.cumsum(f0 * (1 + 0.2 * np.sin(5 * time))) / 16_000
        voiced = sum(np.sin(k * phase) / k for k in range(1, 25))
        envelope = np.clip(np.sin(2 * np.pi * 3.1 * time), 0, None)
        clips.append(0.15 * voiced * envelope + 0.005 * rng.normal(size=samples))
    return np.stack(clips).astype(np.float32)
