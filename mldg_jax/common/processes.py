"""Worker processes, supervised child processes, and signals as requests to stop.

``pool`` opens worker processes that never outlive the command that started them.

``run_supervised`` runs one process of a multi-process run in a child. When a process of
such a run dies, the collectives of the others wait for ever. JAX notices missing
heartbeats or a closed connection and aborts the others from C++ with a stack trace and
status 134, so that no Python code can tell the user what to do. The parent can.

``caught`` turns Ctrl-C and SIGTERM into a request to stop after the current step.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.managers import SyncManager
from pathlib import Path
from typing import Any

from mldg_jax.common.console import show_log
from mldg_jax.common.errors import UserError
from mldg_jax.common.text_files import printable

log = logging.getLogger(__name__)
# Set in the environment of a worker: the file for its note.
_NOTE = "MLDG_JAX_NOTE"


@contextlib.contextmanager
def pool(
    count: int,
    start: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
) -> Iterator[ProcessPoolExecutor]:
    """Opens a pool of single-threaded processes.

    Workers ignore Ctrl-C; on a ``KeyboardInterrupt`` in the parent, running tasks
    finish and the others are cancelled. Any other error ends the workers at once. So
    does the death of the parent (``kill -9``), since an orphan would go on writing to
    the folder in which the restarted command works.

    Args:
      count: number of processes, ≥ 1.
      start: called in every worker before its first task.
      arguments: arguments of ``start``.

    Yields:
      The executor.

    Raises:
      UserError: a worker died, for example because memory ran out; names what the
        workers had said that they were ``working_on``.
    """
    # spawn: a forked child would inherit the threads of JAX and onnxruntime
    context = multiprocessing.get_context("spawn")
    with _one_thread_each(), tempfile.TemporaryDirectory() as notes:
        workers = ProcessPoolExecutor(
            max(1, count),
            context,
            initializer=_start,
            initargs=(notes, start, arguments),
        )
        # Start all workers with the first task. CPython's management thread waits on
        # the processes that it knows, and learns of a new one only when a result
        # arrives: the death of a worker started later would go unnoticed until then.
        workers._safe_to_dynamically_spawn_children = False  # type: ignore
        try:
            yield workers
        except KeyboardInterrupt:
            workers.shutdown(cancel_futures=True)
            raise
        except BrokenProcessPool:
            had = sorted(note.read_text("utf-8") for note in Path(notes).iterdir())
            raise UserError(
                f"one of the {count} worker processes died"
                + f" (they had: {', '.join(had)})" * bool(had)
                + ", probably because memory ran out. Start the command again with "
                "fewer workers: it continues where it stopped"
            ) from None
        except BaseException:
            workers.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
        workers.shutdown()


def cores() -> int:
    """Returns the number of CPU cores that this process may use, at least 1.

    Systems without CPU affinity (macOS) count all cores.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def working_on(what: str) -> None:
    """Notes what a worker has in hand, for the message in case it dies.

    Args:
      what: a file, for example. Outside a worker nothing is noted.
    """
    note = os.environ.get(_NOTE)
    if note:
        Path(note).write_text(printable(what), encoding="utf-8")


def _start(
    notes: str, start: Callable[..., None] | None, arguments: tuple[Any, ...]
) -> None:
    """Initialises a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ[_NOTE] = str(Path(notes) / str(os.getpid()))
    show_log()

    _end_with_parent_process()
    if start is not None:
        start(*arguments)


def _end_with_parent_process() -> None:
    """Ends this child process when its parent ends, however that ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a child

    def watch():
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def manager() -> Iterator[SyncManager]:
    """Opens a process for objects that processes share, such as queues.

    It ends with this process, even if that is killed.

    Yields:
      The manager.
    """
    shared = SyncManager(ctx=multiprocessing.get_context("spawn"))
    shared.start(initializer=_end_with_parent_process)
    with shared:
        yield shared


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Gives each worker one BLAS thread, by variables read when numpy is imported."""
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


# Set in the environment of a supervised child: the reading end of its parent's pipe.
MARK = "MLDG_JAX_SUPERVISED"


def run_supervised(command: Sequence[str]) -> int | None:
    """Runs this process's command again in a child and waits for it.

    SIGTERM and SIGINT are forwarded to the child; a second SIGINT ends both. The child
    ends when this process ends, whatever the cause.

    Args:
      command: the command of this process, see ``same_command``.

    Returns:
      The child's exit status; None at once in the child itself, which then does the
      work.

    Raises:
      UserError: the child was ended by a signal or aborted by JAX.
    """
    if MARK in os.environ:
        _end_with_parent(int(os.environ.pop(MARK)))
        return None
    child_end, own_end = os.pipe()
    environment = os.environ | {MARK: str(child_end)}
    # A session of its own, so that the child gets a terminal's Ctrl-C once: from here.
    child = subprocess.Popen(
        command, env=environment, pass_fds=[child_end], start_new_session=True
    )
    os.close(child_end)
    old_handlers = {
        number: signal.signal(number, lambda n, _: child.send_signal(n))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        status = child.wait()
    finally:
        os.close(own_end)
        for number, handler in old_handlers.items():
            signal.signal(number, handler)
    if status >= 0:
        return status
    if -status == signal.SIGINT:
        raise KeyboardInterrupt
    if -status == signal.SIGABRT:
        reason = "another process of the run died; JAX's report above says which"
    else:
        reason = f"this process of the run was ended by {signal.Signals(-status).name}"
    raise UserError(
        f"{reason}. Start all processes again with the same commands: they continue "
        "from the last checkpoint"
    )


def _end_with_parent(pipe: int) -> None:
    """Ends this process when the other end of the pipe is closed."""

    def watch():
        os.read(pipe, 1)  # returns when the pipe closes: nothing is ever written
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def same_command() -> list[str]:
    """Returns the command that this process was started with."""
    return [sys.executable, *sys.orig_argv[1:]]


@contextlib.contextmanager
def caught(*, multiprocess: bool = False) -> Iterator[Callable[[], bool]]:
    """Catches the first SIGINT or SIGTERM; a second Ctrl-C ends the process at once.

    The previous handlers are restored afterwards. For the main thread only, because
    Python allows signal handlers nowhere else.

    Args:
      multiprocess: True if the run has several processes. They must stop at the same
        step, and JAX agrees on one when it sees SIGTERM in any of them
        (``parallel.should_stop``). SIGTERM is therefore left to JAX, and SIGINT is
        passed on as SIGTERM.

    Yields:
      A function that returns True once a signal has arrived.
    """
    arrived = threading.Event()

    def handle(number, frame):
        del frame
        arrived.set()
        name = signal.Signals(number).name
        log.warning("%s: finishing the step and saving; Ctrl-C again aborts", name)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if multiprocess:
            signal.raise_signal(signal.SIGTERM)

    numbers = [signal.SIGINT] if multiprocess else [signal.SIGINT, signal.SIGTERM]
    old_handlers = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield arrived.is_set
    finally:
        for number, handler in old_handlers.items():
            signal.signal(number, handler)
