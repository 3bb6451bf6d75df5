"""A process of several, watched by one that can speak when it cannot.

When a process of a run dies, the collectives of the others wait for ever. JAX notices,
by missing heartbeats or a closed connection, and aborts them from C++: a stack trace,
status 134, and no Python that could say what to do. So each works in a child.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

from mldg_jax.errors import UserError

MARK = "MLDG_JAX_SUPERVISED"  # in the child's environment: the end of a pipe


def run(command: Sequence[str]) -> int | None:
    """Runs a command in a child; in the child itself, returns None at once.

    SIGTERM and SIGINT are passed on, a second SIGINT ends both; the child ends when
    this process does, however that comes.

    Args:
      command: of this process.

    Returns:
      The exit status.

    Raises:
      UserError: a signal or JAX's own abort ended the child.
    """
    if MARK in os.environ:
        _end_with_parent(int(os.environ.pop(MARK)))
        return None
    theirs, ours = os.pipe()
    environment = os.environ | {MARK: str(theirs)}
    # In a session of its own: Ctrl-C of the terminal reaches it once, through here.
    child = subprocess.Popen(
        command, env=environment, pass_fds=[theirs], start_new_session=True
    )
    os.close(theirs)
    before = {
        number: signal.signal(number, lambda n, _: child.send_signal(n))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        status = child.wait()
    finally:
        os.close(ours)
        for number, handler in before.items():
            signal.signal(number, handler)
    if status >= 0:
        return status
    if -status == signal.SIGINT:
        raise KeyboardInterrupt
    if -status == signal.SIGABRT:
        why = "another process of the run has died; JAX's report above says which"
    else:
        why = f"this process of the run was ended by {signal.Signals(-status).name}"
    raise UserError(
        f"{why}. Start all processes again with the same command: they go on from the "
        "last checkpoint"
    )


def _end_with_parent(pipe: int) -> None:
    """Ends this process when the other end of the pipe is closed."""

    def watch():
        os.read(pipe, 1)  # nothing is ever written
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def same_command() -> list[str]:
    """What this process was started with."""
    return [sys.executable, *sys.orig_argv[1:]]
