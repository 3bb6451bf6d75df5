"""Worker processes, and signals as requests to stop."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mldg_jax.common import processes
from mldg_jax.common.errors import UserError

told = []


def remember(word):
    told.append(word)


def who(seconds):
    """Returns the words a worker got at its start, its threads and its process id."""
    time.sleep(seconds)
    return told, os.environ["OMP_NUM_THREADS"], os.getpid()


def meet(folder):
    """``who``, once two processes have come into the folder."""
    (folder / str(os.getpid())).touch()
    for _ in range(600):
        if len(list(folder.iterdir())) == 2:
            break
        time.sleep(0.1)
    return who(0)


def end():
    os.kill(os.getpid(), signal.SIGKILL)


def assert_ended():
    """Asserts that no worker is left, or that the last ones are just ending.

    Asking once is not enough: the pool's own thread may have waited for a worker and
    not said so yet.
    """
    deadline = time.monotonic() + 60
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not multiprocessing.active_children()


def test_two_workers_start_alike_and_work_side_by_side(monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    with processes.pool(2, remember, ("a word",)) as workers:
        tasks = [workers.submit(meet, tmp_path) for _ in range(4)]
        words, threads, numbers = zip(*(task.result() for task in tasks), strict=True)
    assert list(words) == [["a word"]] * 4 and set(threads) == {"1"}
    assert len(set(numbers)) == 2 and os.getpid() not in numbers
    assert os.environ["OMP_NUM_THREADS"] == "5" and not told


def test_a_worker_that_dies_is_noticed_at_once_and_ends_the_others():
    with (
        pytest.raises(UserError, match="one of the 2 worker processes died"),
        processes.pool(2) as workers,
    ):
        other = workers.submit(who, 600)
        assert len(multiprocessing.active_children()) == 2  # or it may not be noticed
        workers.submit(end).result()
    assert isinstance(other.exception(), processes.BrokenProcessPool)
    assert_ended()


def test_a_worker_that_dies_is_reported_with_what_it_had():
    with (
        pytest.raises(UserError, match=r"died \(they had: a\\nb\.wav\), probably"),
        processes.pool(1) as workers,
    ):
        workers.submit(processes.working_on, "other.wav").result()
        workers.submit(processes.working_on, "a\nb.wav").result()
        workers.submit(end).result()
    processes.working_on("a.wav")  # not in a worker: nothing happens


def test_an_error_here_ends_the_workers():
    with pytest.raises(ZeroDivisionError), processes.pool(1) as workers:
        workers.submit(who, 0).result()
        workers.submit(who, 600)
        raise ZeroDivisionError
    assert_ended()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_a_wish_and_handlers_come_back(number, caplog):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with processes.caught() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    after = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    assert before == after
    assert "finishing the step and saving" in caplog.text


def test_the_second_ctrl_c_ends_the_process_at_once():
    code = (
        "import os, signal\nfrom mldg_jax.common import processes\n"
        "with processes.caught() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('first', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('second', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGINT and done.stdout == "first\n"


def test_a_manager_ends_with_its_parent(tmp_path):
    """A demo that was killed left the process of its queues behind."""
    program = tmp_path / "parent.py"
    program.write_text(
        "import os, signal\n"
        "from mldg_jax.common import processes\n"
        "if __name__ == '__main__':\n"
        "    with processes.manager() as shared:\n"
        "        shared.Queue().put(1)\n"
        "        print(shared._process.pid, flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == -signal.SIGTERM, done.stderr
    child = Path("/proc") / done.stdout.strip()
    deadline = time.monotonic() + 60
    while child.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not child.exists()
