"""A cache of compiled programs on disk, in the user's cache folder.

Compiling a training step takes seconds to minutes. JAX keeps programs in a folder, by a
hash of the program, the compiler's options and its version. The folder of this module
is private to the user, because what is in it is executed, and named after the CPU's
features too, because a home may be shared by machines that differ.
"""

import contextlib
import hashlib
import importlib.metadata
import logging
import os
import platform
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

log = logging.getLogger(__name__)

SECONDS = 0.0  # small programs are kept, too: a second start compiles nothing
VARIABLE = "JAX_COMPILATION_CACHE_DIR"
_UNREADABLE = "Error reading persistent compilation cache entry"
_UNWRITABLE = "Error writing persistent compilation cache entry"


def user_folder() -> Path:
    """Returns the folder of the cache, which may not exist.

    Returns:
      ``$XDG_CACHE_HOME/mldg_jax/xla/<machine>``, by default in ``~/.cache``.
    """
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(base)) / "mldg_jax" / "xla" / _machine()


def _machine() -> str:
    """Returns a name that machines share if their CPUs and their JAX are the same."""
    facts = [platform.machine(), importlib.metadata.version("jaxlib")]
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        names = ("flags", "Features", "model name")
        facts += [x for x in lines if x.split("\t")[0].strip() in names][:2]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]


@contextlib.contextmanager
def used() -> Iterator[Path | None]:
    """Keeps the programs that are compiled inside, and uses those kept before.

    A damaged cache costs time and a line in the log, never a result.

    Yields:
      The folder, which ``JAX_COMPILATION_CACHE_DIR`` may name; None without one.
    """
    if os.environ.get(VARIABLE):
        folder = Path(os.environ[VARIABLE])
        with warnings.catch_warnings():
            report_damage(folder, may_empty=False)
            yield folder
        return
    folder = user_folder()
    reason = _refusal(folder)
    if reason:
        log.info("compiled programs are not kept: %s", reason)
        yield None
        return
    before = {
        name: getattr(jax.config, name)
        for name in (
            "jax_compilation_cache_dir",
            "jax_persistent_cache_min_compile_time_secs",
        )
    }
    for name, value in zip(before, (str(folder), SECONDS), strict=True):
        jax.config.update(name, value)
    try:
        with warnings.catch_warnings():
            report_damage(folder)
            yield folder
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


def _refusal(folder: Path) -> str:
    """Makes the folder; returns why it cannot be used, or ""."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = folder.stat()
    except OSError as error:
        return f"{folder}: {error.strerror}"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"{folder} is not writable"
    if facts.st_uid != os.getuid() or facts.st_mode & 0o022:
        return f"others may write to {folder}, and what it holds is executed"
    return ""


def report_damage(folder: Path, *, may_empty: bool = True) -> None:
    """Turns JAX's warnings on entries that it cannot read or write into a log line.

    Lasts to the end of a surrounding ``warnings.catch_warnings``, or of the process.

    Args:
      folder: the cache.
      may_empty: whether to delete its entries if one is damaged; JAX never replaces an
        entry, and would try to read it every time.
    """
    show: Callable[..., Any] = warnings.showwarning
    told: set[str] = set()

    def handle(message, category, filename, lineno, file=None, line=None):
        text = str(message)
        if text.startswith(_UNREADABLE):
            if may_empty:
                _empty(folder)
            done = "it was emptied" if may_empty else f"delete {folder}"
            said = f"{folder} has a damaged file; compiling anew: {done}"
        elif text.startswith(_UNWRITABLE):
            said = f"compiled programs cannot be kept in {folder}"
        else:
            show(message, category, filename, lineno, file, line)
            return
        if said not in told:
            told.add(said)
            log.warning("cache of compiled programs: %s", said)

    warnings.showwarning = handle
    for start in (_UNREADABLE, _UNWRITABLE):
        warnings.filterwarnings("always", message=start)


def _empty(folder: Path) -> None:
    for pattern in ("*-cache", "*-atime"):  # the names of JAX's entries
        for path in folder.glob(pattern):
            with contextlib.suppress(OSError):
                path.unlink()
