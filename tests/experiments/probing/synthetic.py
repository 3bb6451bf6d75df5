"""Training recordings whose layers are known: numbers instead of speech."""

import numpy as np

from mldg_jax.data.corpus import Corpus

FAMILY = {"a1": "a", "a2": "a", "b": "b", "c": "c", "d": "d"}


def rows(count: int = 240) -> Corpus:
    """Returns a corpus without audio.

    Args:
      count: of recordings, a quarter of them bona fide; twelve speakers.
    """
    number = np.arange(count)
    real = number % 4 == 0
    attacks = np.array(list(FAMILY))[number // 3 % len(FAMILY)]
    return Corpus(
        utterance=np.array([f"u{i}" for i in number]),
        label=real.astype(np.int32),
        attack=np.where(real, "-", attacks),
        speaker=np.array([f"s{i // 4 % 12}" for i in number]),
        language=np.full(count, "en"),
        audio=[],
    )


def means(corpus: Corpus, strength: tuple[float, ...], dim: int = 6) -> np.ndarray:
    """Returns means of layers that tell the classes apart, each on its channel.

    Channel 1 of every layer tells each family apart in a direction of its own, which
    misleads about the others.

    Args:
      corpus: from ``rows``.
      strength: for each layer, distance of the classes in standard deviations.
      dim: width of a layer.

    Returns:
      (n, layers, dim) float32.
    """
    rng = np.random.default_rng(0)
    made = rng.normal(size=(len(corpus.label), len(strength), dim))
    made[:, :, 0] += np.outer(corpus.label, strength)
    family = np.array([FAMILY.get(x, "") for x in corpus.attack.tolist()])
    for name, shift in zip("abcd", (4, -4, 4, -4), strict=True):
        made[family == name, :, 1] += shift
    return made.astype(np.float32)
