"""How much a command says on standard error: ``--quiet`` and ``--verbose``.

Results are printed to standard output in any case, and so are errors to standard error.
Nothing is coloured, so there is no use for ``NO_COLOR``.
"""

import argparse
import contextlib
import logging
import os
from collections.abc import Iterator

from mldg_jax.common.console import LIBRARY, QUIET

NO_BARS, VERBOSE = "TQDM_DISABLE", "JAX_LOG_COMPILES"


def add_verbosity(command: argparse.ArgumentParser) -> None:
    """Adds ``--quiet`` and ``--verbose``.

    Args:
      command: parser of a command.
    """
    group = command.add_mutually_exclusive_group()
    group.add_argument(
        "-q",
        "--quiet",
        action="store_true",
        help="no progress bars, and only warnings and errors on standard error",
    )
    group.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="also log what JAX compiles and how long it takes",
    )


@contextlib.contextmanager
def applied(arguments: argparse.Namespace) -> Iterator[None]:
    """Says as much as the arguments ask for.

    The variables reach the worker processes of a command, too. tqdm and JAX read them
    when they are first imported, which is later than this on the command line.

    Args:
      arguments: parsed, with ``quiet`` and ``verbose``; without them nothing changes.

    Yields:
      Nothing.
    """
    quiet = getattr(arguments, "quiet", False)
    verbose = getattr(arguments, "verbose", False)
    changed = {NO_BARS: quiet, QUIET: quiet, VERBOSE: verbose}
    before = {name: os.environ.get(name) for name in changed}
    level = LIBRARY.level
    os.environ.update({name: "1" for name, is_on in changed.items() if is_on})
    if quiet or verbose:
        LIBRARY.setLevel(logging.WARNING if quiet else logging.DEBUG)
    try:
        yield
    finally:
        LIBRARY.setLevel(level)
        for name, value in before.items():
            if value is not None:
                os.environ[name] = value
            else:
                os.environ.pop(name, None)
