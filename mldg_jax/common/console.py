"""Shows the library's log on a terminal: one line ``mldg: message`` each on stderr."""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator

from mldg_jax.common.errors import UserError
from mldg_jax.common.text_files import visible

LIBRARY = logging.getLogger("mldg_jax")
QUIET = "MLDG_JAX_QUIET"  # tells worker processes, if set, that a command is quiet


def is_quiet() -> bool:
    """Returns True in a command with ``--quiet`` and in its worker processes."""
    return bool(os.environ.get(QUIET))


def progress(text: str) -> None:
    """Prints what a command is doing to standard error, unless it is quiet.

    Args:
      text: a line.
    """
    if not is_quiet():
        with contextlib.suppress(OSError):  # standard error is full: work goes on
            print(visible(text), file=sys.stderr, flush=True)


class ConsoleHandler(logging.Handler):
    """Writes to the current ``sys.stderr``, above progress bars if any are shown."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a record.

        Args:
          record: the record to format and write.
        """
        from tqdm import tqdm  # slow to import, and most commands log nothing

        try:
            tqdm.write(f"mldg: {visible(self.format(record))}", file=sys.stderr)
        except Exception:
            self.handleError(record)


def show_log() -> Callable[[], None]:
    """Shows the library's log from level INFO on, and no advice from matplotlib.

    With ``QUIET`` set in the environment, only warnings and errors are shown.
    Where it cannot write to the home, matplotlib advises on its cache in two lines.

    Returns:
      A function that restores the previous state.
    """
    handler, level, propagate = ConsoleHandler(), LIBRARY.level, LIBRARY.propagate

    matplotlib = logging.getLogger("matplotlib")
    advice = matplotlib.level

    def undo() -> None:
        matplotlib.setLevel(advice)
        LIBRARY.removeHandler(handler)
        LIBRARY.setLevel(level)
        LIBRARY.propagate = propagate

    matplotlib.setLevel(logging.ERROR)
    LIBRARY.addHandler(handler)
    LIBRARY.setLevel(logging.WARNING if is_quiet() else logging.INFO)
    # An import may have given the root logger a handler: do not log twice.
    LIBRARY.propagate = False
    return undo


def open_streams() -> None:
    """Makes standard streams that the caller has closed something that can be used.

    Files that are opened later would get their numbers, and the output of libraries.

    Raises:
      UserError: standard output is closed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (as long as the process)
    if sys.stdout is None:
        raise UserError(
            "standard output is closed: redirect it to a file, or to /dev/null"
        )


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keeps off the terminal what C libraries write to it, such as decoders' warnings.

    They write to file descriptor 2; Python's own stderr still reaches the terminal.
    """
    python, terminal = sys.stderr, os.dup(2)
    try:
        shared = python.fileno() == 2
    except (OSError, ValueError, AttributeError):
        shared = False
    if shared:
        python.flush()
        sys.stderr = os.fdopen(
            os.dup(2), "w", buffering=1, encoding=python.encoding, errors=python.errors
        )
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        if shared:
            sys.stderr.close()
            sys.stderr = python
