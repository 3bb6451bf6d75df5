"""Processes: workers, a supervised child, and signals as a wish to stop.

``pool``: worker processes that never outlive the command that started them.

``run_supervised``: a process of several, watched by one that can speak when it cannot.
When a process of a run dies, the collectives of the others wait for ever. JAX notices,
by missing heartbeats or a closed connection, and aborts them from C++: a stack trace,
status 134, and no Python that could say what to do. So each works in a child.

``caught``: Ctrl-C and SIGTERM as a wish to stop, not as a blow.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from mldg_jax.common.console import show_log
from mldg_jax.common.errors import UserError

log = logging.getLogger(__name__)


@contextlib.contextmanager
def pool(
    count: int,
    start: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
) -> Iterator[ProcessPoolExecutor]:
    """Opens a pool of single-threaded processes.

    Ctrl-C is the parent's business: the tasks in hand finish, the others are dropped.
    Any other error ends the workers at once, and so does the death of the parent
    (kill −9): an orphan would go on writing where the next command works.

    Args:
      count: processes, ≥ 1.
      start: called in every worker before its first task.
      arguments: of ``start``.

    Raises:
      UserError: a worker died, as it does when memory runs out.
    """
    # spawn: a forked child would inherit the threads of JAX and onnxruntime
    context = multiprocessing.get_context("spawn")
    with _one_thread_each():
        workers = ProcessPoolExecutor(
            max(1, count), context, initializer=_start, initargs=(start, arguments)
        )
        # All start with the first task: of one that starts later the death is not
        # noticed before the next result of another (CPython's thread that waits for
        # both learns of a new process only then).
        workers._safe_to_dynamically_spawn_children = False  # type: ignore
        try:
            yield workers
        except KeyboardInterrupt:
            workers.shutdown(cancel_futures=True)
            raise
        except BrokenProcessPool:
            raise UserError(
                f"one of the {count} worker processes died, probably for want of "
                "memory. Start the command again with fewer workers: it goes on where "
                "it stopped"
            ) from None
        except BaseException:
            workers.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
        workers.shutdown()


def _start(start: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    show_log()

    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a worker

    def watch():
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    if start is not None:
        start(*arguments)


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Workers get one BLAS thread each; they read these when they import numpy."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


MARK = "MLDG_JAX_SUPERVISED"  # in the child's environment: the end of a pipe


def run_supervised(command: Sequence[str]) -> int | None:
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


@contextlib.contextmanager
def caught(*, multiprocess: bool = False) -> Iterator[Callable[[], bool]]:
    """Catches the first SIGINT and SIGTERM; a second Ctrl-C ends the process at once.

    What handled them before does so again afterwards. For the main thread only, where
    Python allows handlers.

    Args:
      multiprocess: this process is one of several of a run. They must stop at the same
        step, and JAX agrees on one when it sees SIGTERM in any of them
        (``parallel.should_stop``): it is left to JAX, and SIGINT is passed on as
        SIGTERM.

    Yields:
      Tells whether a signal has come.
    """
    came = threading.Event()

    def handle(number, frame):
        del frame
        came.set()
        name = signal.Signals(number).name
        log.warning("%s: finishing the step and saving; Ctrl-C again aborts", name)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if multiprocess:
            signal.raise_signal(signal.SIGTERM)

    caught_ones = [signal.SIGINT] if multiprocess else [signal.SIGINT, signal.SIGTERM]
    before = {number: signal.signal(number, handle) for number in caught_ones}
    try:
        yield came.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
