"""Compares an exported detector with the one it was made from."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mldg_jax.common.config import CorpusSection
from mldg_jax.common.errors import UserError
from mldg_jax.data.audio import SAMPLE_RATE
from mldg_jax.data.corpus import load_split, spread
from mldg_jax.data.corpus_folder import find_corpus, split_names
from mldg_jax.data.episodes import crop

TOLERANCE = 1e-4  # of a score
NUM_NOISE, NUM_SPEECH = 8, 24


class CheckWindows(NamedTuple):
    """Windows to compare two detectors on.

    Attributes:
      windows: (n, samples) float32 within [-1, 1]; the first ``NUM_NOISE`` are noise.
      source: where the others are from.
      is_speech: whether these are recordings, and not synthetic.
    """

    windows: np.ndarray
    source: str
    is_speech: bool


def check_windows(
    samples: int, corpus: CorpusSection, data_dir: str | Path | None = None
) -> CheckWindows:
    """Collects noise and, where there is any, speech.

    Args:
      samples: length of a window.
      corpus: what the detector was trained on; speech is from its split "dev", or from
        its first.
      data_dir: folder of the prepared corpora. If the corpus is not in it, or without
        one, synthetic vowels replace the speech.

    Returns:
      The windows.
    """
    rng = np.random.default_rng(0)
    level = np.geomspace(1e-3, 0.3, NUM_NOISE)[:, None]
    noise = np.clip(level * rng.normal(size=(NUM_NOISE, samples)), -1, 1)
    speech = _speech(samples, corpus, data_dir)
    source = "synthetic vowels" if speech is None else f"speech of {corpus.name}"
    others = _vowels(samples, rng) if speech is None else speech
    windows = np.concatenate([noise, others]).astype(np.float32)
    return CheckWindows(windows, source, speech is not None)


def _speech(
    samples: int, corpus: CorpusSection, data_dir: str | Path | None
) -> np.ndarray | None:
    """Returns one window of each of evenly spread recordings; None without a corpus."""
    if data_dir is None:
        return None
    try:
        folder = find_corpus(corpus.name, corpus.config, data_dir)
        splits = split_names(folder)
        rows = load_split(folder, "dev" if "dev" in splits else splits[0])
    except (UserError, IndexError):  # the check does not depend on a corpus
        return None
    chosen = spread(np.ones(len(rows.label), bool), NUM_SPEECH)
    return np.stack([crop(rows.waveform(i), samples, 0.5) for i in chosen])


def _vowels(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Returns gliding harmonics in bursts of a syllable's length, with noise."""
    time = np.arange(samples) / SAMPLE_RATE
    vowels = []
    for pitch in np.geomspace(80, 320, NUM_SPEECH):
        glide = pitch * (1 + 0.2 * np.sin(5 * time + rng.uniform(0, 6)))
        phase = 2 * np.pi * np.cumsum(glide) / SAMPLE_RATE
        voice = sum(np.sin(k * phase) / k for k in range(1, 25))
        syllables = np.clip(np.sin(2 * np.pi * 3 * time + rng.uniform(0, 6)), 0, None)
        vowels.append(0.2 * voice * syllables + 0.003 * rng.normal(size=samples))
    return np.clip(vowels, -1, 1)


def require_equal(scores: np.ndarray, expected: np.ndarray) -> float:
    """Checks an export's scores against the detector's own.

    Args:
      scores, expected: (n,).

    Returns:
      The largest difference.

    Raises:
      UserError: it is above ``TOLERANCE``, or a score is not finite.
    """
    difference = float(np.abs(scores - expected).max())
    if not difference <= TOLERANCE:  # also if it is NaN
        raise UserError(
            f"the ONNX graph's scores differ from the detector's by {difference:.1e}; "
            f"at most {TOLERANCE:.0e} is accepted, so nothing was written. Update "
            "onnxruntime (pip install -U onnxruntime) and export again, or report it "
            "with the run's config.json"
        )
    return difference
