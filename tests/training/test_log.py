"""The log of a run, and TensorBoard."""

import pytest

from mldg_jax.common.errors import UserError
from mldg_jax.training.log import BOARD, LOG, check_tensorboard, open_log, read

LINE = {"step": 4, "loss": 0.5, "by_attack": {"A01": 0.25}, "meta_test": ["A01"]}


def test_the_log_is_cut_to_what_is_kept(tmp_path):
    with open_log(tmp_path, 0, tensorboard=False) as write:
        for step in (2, 4, 6):
            write(LINE | {"step": step})
    with (tmp_path / LOG).open("a") as file:
        file.write('{"step": 8, "lo')  # killed here
    with open_log(tmp_path, 4, tensorboard=False) as write:
        write(LINE | {"step": 5})
    assert [x["step"] for x in read(tmp_path, 99)] == [2, 4, 5]
    assert [x["step"] for x in read(tmp_path, 4)] == [2, 4]


def test_a_disk_that_is_full_is_one_message(tmp_path):
    with open_log(tmp_path, 0, tensorboard=False) as write:
        (tmp_path / LOG).unlink()
        (tmp_path / LOG).symlink_to("/dev/full")
        with pytest.raises(UserError, match="No space left on device"):
            write(LINE)


def test_tensorboard_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'mldg_jax\[tensorboard\]'"):
        check_tensorboard()


def test_tensorboard_gets_what_the_log_gets(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    with open_log(tmp_path, 0, tensorboard=True) as write:
        write(LINE)
    (path,) = (tmp_path / BOARD).iterdir()
    content, events, at = path.read_bytes(), [], 0
    while at < len(content):  # TFRecord: length, its CRC, the event, its CRC
        size = int.from_bytes(content[at : at + 8], "little")
        events.append(Event.FromString(content[at + 12 : at + 12 + size]))
        at += 16 + size
    found = {v.tag: (e.step, v.simple_value) for e in events for v in e.summary.value}
    assert found == {"loss": (4, 0.5), "by_attack/A01": (4, 0.25)}


@pytest.mark.parametrize("content", [b"{]\n", b"[]\n", b'{"loss": 1}\n', b"\xff\n"])
def test_a_damaged_log_is_answered_with_the_fix(tmp_path, content):
    (tmp_path / LOG).write_bytes(b'{"step": 1}\n' + content)
    with pytest.raises(UserError, match=r"damaged.*; delete the damaged lines"):
        read(tmp_path, 9)
