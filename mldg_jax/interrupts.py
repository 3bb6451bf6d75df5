"""Ctrl-C and SIGTERM as a wish to stop, not as a blow."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def caught(*, several: bool = False) -> Iterator[Callable[[], bool]]:
    """Catches the first SIGINT and SIGTERM; a second Ctrl-C ends the process at once.

    What handled them before does so again afterwards. For the main thread only, where
    Python allows handlers.

    Args:
      several: this process is one of several of a run. They must stop at the same
        step, and JAX agrees on one when it sees SIGTERM in any of them
        (``parallel.stops``): it is left to JAX, and SIGINT is passed on as SIGTERM.

    Yields:
      Tells whether a signal has come.
    """
    came = threading.Event()

    def handle(number, frame):
        del frame
        came.set()
        name = signal.Signals(number).name
        print(
            f"\nmldg: {name}: finishing the step and saving; Ctrl-C again aborts",
            file=sys.stderr,
        )
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if several:
            signal.raise_signal(signal.SIGTERM)

    caught_ones = [signal.SIGINT] if several else [signal.SIGINT, signal.SIGTERM]
    before = {number: signal.signal(number, handle) for number in caught_ones}
    try:
        yield came.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
