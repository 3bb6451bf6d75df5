"""Test signals, the same for frozen and live references."""

import numpy as np

from mldg_jax.data.corpus import Corpus


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


def corpus() -> Corpus:
    """Six attacks and seven speakers; attacks differ from bona fide by their colour."""
    rng = np.random.default_rng(0)
    attacks = np.array(["-"] * 70 + [f"A{i % 6 + 1:02d}" for i in range(60)])
    real = attacks == "-"

    def clip(i):
        noise = rng.normal(size=rng.integers(3_000, 9_000))
        colour = noise if real[i] else np.convolve(noise, [1, 0.9], "same")
        return (1000 * colour).astype(np.int16)

    return Corpus(
        utterance=np.array([f"u{i:03d}" for i in range(len(attacks))]),
        label=real.astype(np.int32),
        attack=attacks,
        speaker=np.array(
            [f"s{i % 7}" if r else f"t{i % 5}" for i, r in enumerate(real)]
        ),
        language=np.full(len(attacks), "en"),
        audio=[clip(i) for i in range(len(attacks))],
    )


def random_trials(seed=0, n=240, decimals=1):
    """Scores with ties, labels, attacks, speakers (8 of them, all with bona fide)."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 3 == 0).astype(int)
    scores = np.round(rng.normal(size=n) + 1.5 * labels, decimals)
    attacks = np.where(labels == 1, "-", rng.choice(["A07", "A08", "A19"], n))
    speakers = np.char.add("spk", rng.integers(0, 8, n).astype(str))
    return scores, labels, attacks, speakers
