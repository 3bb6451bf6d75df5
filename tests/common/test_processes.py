"""Signals as a wish to stop."""

import os
import signal
import subprocess
import sys

import pytest

from mldg_jax.common import processes


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
