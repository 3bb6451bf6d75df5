"""librosa where nothing can be written."""

import os
import subprocess
import sys
from pathlib import Path


def test_librosa_is_imported_where_numba_has_no_folder():
    code = (
        "from mldg_jax.common import numba_cache\n"
        "numba_cache._can_cache = lambda: False\n"
        "librosa = numba_cache.import_librosa()\n"
        "print(librosa.filters.mel(sr=16_000, n_fft=400, n_mels=80).shape)\n"
        "import numba\n"
        "print(numba.config.CACHE_DIR)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    shape, folder = done.stdout.splitlines()
    assert shape == "(80, 201)" and "mldg-numba-" in folder
    assert not Path(folder).exists()  # removed at the end
