"""Signals, and TensorBoard."""

import os
import signal
import subprocess
import sys

import pytest

from mldg_jax import interrupts, logs
from mldg_jax.errors import UserError

LINE = {"step": 4, "loss": 0.5, "by_attack": {"A01": 0.25}, "meta_test": ["A01"]}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_a_wish_and_handlers_come_back(number, capsys):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with interrupts.caught() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    after = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    assert before == after
    assert "finishing the step and saving" in capsys.readouterr().err


def test_the_second_ctrl_c_ends_the_process_at_once():
    code = (
        "import os, signal\nfrom mldg_jax import interrupts\n"
        "with interrupts.caught() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('first', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('second', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGINT and done.stdout == "first\n"


def test_the_log_is_cut_to_what_is_kept(tmp_path):
    with logs.written(tmp_path, 0, tensorboard=False) as write:
        for step in (2, 4, 6):
            write(LINE | {"step": step})
    with (tmp_path / logs.LOG).open("a") as file:
        file.write('{"step": 8, "lo')  # killed here
    with logs.written(tmp_path, 4, tensorboard=False) as write:
        write(LINE | {"step": 5})
    assert [x["step"] for x in logs.read(tmp_path, 99)] == [2, 4, 5]
    assert [x["step"] for x in logs.read(tmp_path, 4)] == [2, 4]


def test_a_disk_that_is_full_is_one_message(tmp_path):
    with logs.written(tmp_path, 0, tensorboard=False) as write:
        (tmp_path / logs.LOG).unlink()
        (tmp_path / logs.LOG).symlink_to("/dev/full")
        with pytest.raises(UserError, match="No space left on device"):
            write(LINE)


def test_tensorboard_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'mldg_jax\[tensorboard\]'"):
        logs.check_tensorboard()


def test_tensorboard_gets_what_the_log_gets(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    with logs.written(tmp_path, 0, tensorboard=True) as write:
        write(LINE)
    (path,) = (tmp_path / logs.BOARD).iterdir()
    content, events, at = path.read_bytes(), [], 0
    while at < len(content):  # TFRecord: length, its CRC, the event, its CRC
        size = int.from_bytes(content[at : at + 8], "little")
        events.append(Event.FromString(content[at + 12 : at + 12 + size]))
        at += 16 + size
    found = {v.tag: (e.step, v.simple_value) for e in events for v in e.summary.value}
    assert found == {"loss": (4, 0.5), "by_attack/A01": (4, 0.25)}
