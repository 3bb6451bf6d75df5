"""librosa for users who cannot write anywhere, as in many containers.

librosa asks numba to keep what it compiles. Where numba finds no folder for that, in
site-packages or in the home, importing librosa fails.
"""

import atexit
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from types import ModuleType


def import_librosa() -> ModuleType:
    """Imports librosa, with a private temporary folder for numba if it has no other.

    Returns:
      The module.
    """
    if not os.environ.get("NUMBA_CACHE_DIR") and not _can_cache():
        # Private, and not a fixed name in /tmp: numba runs what it finds in its cache.
        folder = tempfile.mkdtemp(prefix="mldg-numba-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["NUMBA_CACHE_DIR"] = folder  # read when numba is first imported
    import librosa

    return librosa


def _can_cache() -> bool:
    spec = importlib.util.find_spec("librosa")
    package = Path(spec.origin).parent if spec and spec.origin else Path()
    home = Path(os.path.expanduser("~"))
    home = next((x for x in (home / ".cache", home) if os.path.isdir(x)), home)
    return os.access(package / "core", os.W_OK) or os.access(home, os.W_OK)
