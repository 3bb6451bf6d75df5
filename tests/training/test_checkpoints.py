"""Checkpoints that fill the disk, are damaged or cannot be written."""

import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from mldg_jax.common.errors import UserError
from mldg_jax.common.files import write_text
from mldg_jax.step import TrainState
from mldg_jax.training import checkpoints

# After a first error, other threads of Orbax find its event loop closed.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)


def state(step):
    rng = np.random.default_rng(step)
    weights = {"w": rng.normal(size=(64, 64)).astype(np.float32)}
    return TrainState(
        trainable=weights,
        ema={"w": weights["w"] / 2},
        batch_stats={"mean": np.full(3, step, np.float32)},
        objective_state=(),
        opt_state={"m": np.full(2, step, np.float32)},
        step=np.array(step, np.int32),
        key=jax.random.key(step),
    )


@pytest.fixture
def three(tmp_path):
    """Returns a run folder that keeps checkpoints 2 and 3 of the three saved."""
    with checkpoints.open_checkpoints(tmp_path) as manager:
        for step in (1, 2, 3):
            checkpoints.save(manager, step, state(step))
    return tmp_path


def damage(folder, how):
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        if how == "deleted":
            path.unlink()
            continue
        content = bytearray(path.read_bytes())
        if how == "truncated":
            content = content[: len(content) // 2]
        elif content:
            content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)


def assert_is(found, step):
    expected = state(step)
    assert found.step == step
    np.testing.assert_array_equal(found.trainable["w"], expected.trainable["w"])
    np.testing.assert_array_equal(found.ema["w"], expected.ema["w"])
    assert found.objective_state == ()
    assert found.key == jax.random.key(step)


def test_the_last_two_are_kept_and_the_newest_is_restored(three, capsys, caplog):
    with checkpoints.open_checkpoints(three) as manager:
        assert list(manager.all_steps()) == [2, 3]
        assert_is(checkpoints.restore_latest(manager, state(0)), 3)
    assert not capsys.readouterr().err and "damaged" not in caplog.text


@pytest.mark.parametrize("how", ["truncated", "garbled", "deleted"])
def test_a_damaged_one_is_named_and_the_one_before_taken(three, how, caplog):
    damage(three / "checkpoints" / "3", how)
    with checkpoints.open_checkpoints(three) as manager:
        assert_is(checkpoints.restore_latest(manager, state(0)), 2)
        if how != "deleted":  # Orbax sees no checkpoint there at all
            assert "checkpoint of step 3 is damaged" in caplog.text
        checkpoints.save(manager, 3, state(3))  # the step is done again
        checkpoints.wait(manager)
        assert_is(checkpoints.restore_latest(manager, state(0)), 3)


def test_every_byte_of_the_arrays_counts(three):
    """Flips one bit in each file alone, even where the file format does not notice."""
    files = [p for p in (three / "checkpoints" / "3").rglob("*") if p.is_file()]
    noticed = 0
    for path in files:
        whole = path.read_bytes()
        content = bytearray(whole)
        if not content:
            continue
        content[len(content) * 2 // 3] ^= 1
        path.write_bytes(content)
        with checkpoints.open_checkpoints(three) as manager:
            step, found = checkpoints.restore_first(manager, [3, 2], state(0))
        assert_is(found, step)
        noticed += step == 2
        path.write_bytes(whole)
    assert noticed >= 2


def test_none_that_is_whole_is_an_error(three):
    for step in (2, 3):
        damage(three / "checkpoints" / str(step), "truncated")
    with (
        checkpoints.open_checkpoints(three) as manager,
        pytest.raises(UserError, match=r"no checkpoint under .* can be read \(steps 3"),
    ):
        checkpoints.restore_latest(manager, state(0))


def test_the_best_are_kept_beside_the_last(tmp_path):
    with checkpoints.open_checkpoints(tmp_path, lambda: [2, 4]) as manager:
        for step in range(1, 8):
            checkpoints.save(manager, step, state(step))
        checkpoints.wait(manager)
        assert list(manager.all_steps()) == [2, 4, 6, 7]


def test_a_state_that_is_not_finite_is_not_saved(three):
    bad = state(4)
    bad.trainable["w"][3, 5] = np.nan
    with checkpoints.open_checkpoints(three) as manager:
        with pytest.raises(UserError, match=r"after step 4 .*'w'.* that of step 3"):
            checkpoints.save(manager, 4, bad)
        assert manager.latest_step() == 3


def test_a_full_disk_is_one_message_and_loses_nothing(full_disk):
    small = state(1)._replace(trainable={"w": np.ones(4, np.float32)}, ema=())
    large = state(2)
    large = large._replace(trainable={"w": large.trainable["w"].repeat(99)}, ema=())
    with (
        pytest.raises(UserError, match=r"cannot write to .*start the same command"),
        checkpoints.open_checkpoints(full_disk) as manager,
    ):
        checkpoints.save(manager, 1, small)
        checkpoints.wait(manager)
        checkpoints.save(manager, 2, large)
        checkpoints.wait(manager)
    with checkpoints.open_checkpoints(
        full_disk
    ) as manager:  # what is left of it is removed
        assert list(manager.all_steps()) == [1]
        assert checkpoints.restore_latest(manager, small).step == 1


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path):
    """Nobody can write below a file, not even root."""
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write to .*file/run: Not a directory"):
        write_text(tmp_path / "file" / "run" / "config.json", "{}")
    with (
        pytest.raises(UserError, match=r"cannot write to .*file/run"),
        checkpoints.open_checkpoints(tmp_path / "file" / "run"),
    ):
        pass


@pytest.mark.parametrize("what", ["empty", "without state", "junk", "copy", "file"])
def test_anything_may_lie_among_the_checkpoints(three, caplog, what):
    """The last whole checkpoint is restored, and the steps after it saved again."""
    folder, restored = three / "checkpoints", 2
    if what == "junk":
        (folder / "5").mkdir()  # as a full disk leaves it
        (folder / "notes.txt").write_text("mine")
        restored = 3
    elif what == "without state":
        shutil.rmtree(folder / "3" / "default")
    else:
        shutil.rmtree(folder / "3")
        if what == "empty":
            (folder / "3").mkdir()
        elif what == "copy":
            shutil.copytree(folder / "2", folder / "3")
        else:
            (folder / "3").write_text("no folder")
    with checkpoints.open_checkpoints(three) as manager:
        assert_is(checkpoints.restore_latest(manager, state(0)), restored)
        checkpoints.save(manager, restored + 1, state(restored + 1))
    with checkpoints.open_checkpoints(three) as manager:
        assert_is(checkpoints.restore_latest(manager, state(0)), restored + 1)
    assert len(caplog.messages) == (what != "file")  # Orbax knows that it is none


def test_a_repair_is_one_line(three):
    """Readers of a damaged checkpoint do not each print a traceback."""
    damage(three / "checkpoints" / "3" / "default" / "d", "deleted")
    code = (
        "import logging, sys, pathlib\n"
        "from tests.training.test_checkpoints import checkpoints, state\n"
        "logging.basicConfig(format='%(message)s')\n"
        "with checkpoints.open_checkpoints(pathlib.Path(sys.argv[1])) as manager:\n"
        "    print(checkpoints.restore_latest(manager, state(0)).step)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(three)], capture_output=True, text=True
    )
    assert done.stdout == "2\n", done.stderr
    (line,) = done.stderr.splitlines()
    assert "the checkpoint of step 3 is damaged" in line
