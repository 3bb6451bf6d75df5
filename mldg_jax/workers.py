"""Worker processes that never outlive the command that started them."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from mldg_jax.errors import UserError


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

    def watch():
        multiprocessing.parent_process().join()
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
