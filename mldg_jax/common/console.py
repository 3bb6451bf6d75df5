"""The library's log on a terminal: ``mldg: message`` on stderr, a line each."""

import logging
import sys
from collections.abc import Callable

LIBRARY = logging.getLogger("mldg_jax")


class ConsoleHandler(logging.Handler):
    """Writes to what stderr is at the time, above progress bars if there are any."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a record."""
        from tqdm import tqdm  # slow to import, and most commands have nothing to say

        try:
            tqdm.write(f"mldg: {self.format(record)}", file=sys.stderr)
        except Exception:
            self.handleError(record)


def show_log() -> Callable[[], None]:
    """Shows what the library logs, from notes on; other packages' logs stay theirs.

    Returns:
      A function that puts things back as they were.
    """
    handler, level, propagate = ConsoleHandler(), LIBRARY.level, LIBRARY.propagate

    def undo() -> None:
        LIBRARY.removeHandler(handler)
        LIBRARY.setLevel(level)
        LIBRARY.propagate = propagate

    LIBRARY.addHandler(handler)
    LIBRARY.setLevel(logging.INFO)
    LIBRARY.propagate = False  # imports may have given the root logger a handler
    return undo
