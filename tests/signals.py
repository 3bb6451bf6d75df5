"""Test signals, shared by frozen and live references."""

import numpy as np
import scipy.signal

from mldg_jax.data.corpus import Corpus


def speech_like(samples: int, seed: int = 0) -> np.ndarray:
    """Synthesises speech-like signals: gliding harmonics, syllable-rate bursts, noise.

    Args:
      samples: length of a signal.
      seed: of the noise.

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


def voiced(samples: int, seed: int = 0) -> np.ndarray:
    """Synthesises voiced speech: glottal pulses of varying pitch through formants.

    Its cross-correlation with a delayed copy has one peak, which that of a periodic
    signal has not.

    Args:
      samples: length.
      seed: of the pitch.

    Returns:
      (samples,) float32 within [-0.5, 0.5], at 16 kHz.
    """
    rng = np.random.default_rng(seed)
    pulses = np.cumsum(rng.integers(90, 150, samples // 90))  # 107 … 178 Hz
    wave = np.zeros(samples)
    wave[pulses[pulses < samples]] = 1
    for frequency, width in ((500, 80), (1500, 120), (2500, 160)):
        radius = np.exp(-np.pi * width / 16_000)
        turn = 2 * radius * np.cos(2 * np.pi * frequency / 16_000)
        wave = scipy.signal.lfilter([1 - radius], [1, -turn, radius**2], wave)
    wave *= np.clip(np.sin(2 * np.pi * 2 * np.arange(samples) / 16_000), 0, None)
    return (0.5 * wave / np.abs(wave).max()).astype(np.float32)


def corpus() -> Corpus:
    """Returns a corpus of noise: six attacks and seven bona fide speakers.

    Spoof is coloured noise, bona fide white noise.
    """
    rng = np.random.default_rng(0)
    attacks = np.array(["-"] * 70 + [f"A{i % 6 + 1:02d}" for i in range(60)])
    real = attacks == "-"

    def audio(i):
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
        audio=[audio(i) for i in range(len(attacks))],
    )


def random_trials(seed=0, n=240, decimals=1):
    """Draws trials of eight speakers, who all have bona fide trials.

    Args:
      seed: of the draw.
      n: trials, a third of them bona fide.
      decimals: of the scores; few give ties.

    Returns:
      Scores, labels (1 for bona fide), attacks and speakers, each (n,).
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 3 == 0).astype(int)
    scores = np.round(rng.normal(size=n) + 1.5 * labels, decimals)
    attacks = np.where(labels == 1, "-", rng.choice(["A07", "A08", "A19"], n))
    speakers = np.char.add("spk", rng.integers(0, 8, n).astype(str))
    return scores, labels, attacks, speakers
