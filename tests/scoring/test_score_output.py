"""What ``mldg score --output`` replaces, continues and refuses."""

import fcntl
import json
import os
import shutil

import numpy as np
import pytest
import soundfile

from mldg_jax.common import run_folder
from mldg_jax.common.errors import UserError
from mldg_jax.scoring import recordings
from mldg_jax.scoring.calibration import Calibration, save_calibration
from mldg_jax.scoring.score_output import heading_of, open_lines

HEADING = "# run 0 overlap 0"


@pytest.fixture
def names(tmp_path):
    """Two recordings."""
    rng, found = np.random.default_rng(0), []
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, rng.normal(0, 0.1, 8_000), 16_000)
        found.append(str(tmp_path / name))
    return found


def write(output, names, scores, heading=HEADING):
    """Writes scores as the command does; returns the names that had theirs."""
    with open_lines(output, names, heading) as (done, add):
        for name in names:
            if name not in done and name in scores:
                add(name, scores[name])
    return done


def line(name, score):
    """A line of a .part."""
    status = os.stat(name)
    return f"{status.st_size}:{status.st_mtime_ns} {name} {score}"


def test_an_input_is_never_replaced(smoke_run, names, tmp_path):
    before = (tmp_path / "a.wav").read_bytes()
    with pytest.raises(UserError, match="is one of the inputs"):
        recordings.score(smoke_run, names, output=names[0])
    assert (tmp_path / "a.wav").read_bytes() == before
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(names) + "\n")
    with pytest.raises(UserError, match="is one of the inputs"):
        recordings.score(smoke_run, [str(listed)], output=str(listed))
    assert listed.read_text().count("\n") == 2


def test_only_a_score_file_is_replaced(names, tmp_path):
    output = tmp_path / "s.txt"
    output.write_text("my notes\n")
    with pytest.raises(UserError, match="does not begin with a score"):
        write(output, names, dict.fromkeys(names, 1.0))
    assert output.read_text() == "my notes\n"
    output.write_text("old.wav -3.5\n")
    write(output, names, dict.fromkeys(names, 1.0))
    assert output.read_text() == "".join(f"{name} 1.000000\n" for name in names)


def test_where_nothing_was_scored_nothing_is_replaced(names, tmp_path):
    output = tmp_path / "s.txt"
    output.write_text("old.wav -3.5\n")
    with pytest.raises(UserError, match="nothing could be scored"):
        write(output, names, {})
    assert output.read_text() == "old.wav -3.5\n"
    assert not (tmp_path / "s.txt.part").exists()


def test_other_weights_or_another_calibration_begin_anew(own_smoke_run):
    headings = [heading_of(own_smoke_run, 0.5)]
    assert heading_of(own_smoke_run, 0.5) == headings[0]
    headings.append(heading_of(own_smoke_run, 0.25))
    calibration = Calibration(scale=2.0, offset=1.0, prior=0.5, n_bonafide=9, n_spoof=9)
    save_calibration(own_smoke_run / "calibration.json", calibration)
    headings.append(heading_of(own_smoke_run, 0.5))
    trainable, batch_stats = run_folder.read_trainable(own_smoke_run)
    trainable["head"]["logits"]["bias"] += 1
    run_folder.write_trainable(own_smoke_run, trainable, batch_stats)
    headings.append(heading_of(own_smoke_run, 0.5))
    assert len(set(headings)) == 4


def test_lines_of_another_heading_are_dropped(names, tmp_path):
    part = tmp_path / "s.txt.part"
    part.write_text(f"# other 1 overlap 0\n{line(names[0], 99)}\n")
    assert write(tmp_path / "s.txt", names, dict.fromkeys(names, 1.0)) == set()
    assert "99" not in (tmp_path / "s.txt").read_text()


def test_a_cut_line_and_a_nan_are_scored_again(names, tmp_path):
    def resumed(text):
        (tmp_path / "s.txt.part").write_text(text)
        return write(tmp_path / "s.txt", names, dict.fromkeys(names, 1.0))

    first, second = line(names[0], "2.0"), line(names[1], "3.")
    assert resumed(f"{HEADING}\n{first}\n") == {names[0]}
    assert resumed(f"{HEADING}\n{first}\n{second}") == {names[0]}
    assert resumed(f"{HEADING}\n{line(names[0], 'nan')}\n") == set()
    assert (tmp_path / "s.txt").read_text().startswith(f"{names[0]} 1.000000\n")


@pytest.mark.parametrize("seconds", [1e9, 4e9], ids=["older", "newer"])
def test_a_replaced_recording_is_scored_again(names, tmp_path, seconds):
    """Also by an older one, as with cp -p; and a stale score is never written."""
    output, old = tmp_path / "s.txt", dict.fromkeys(names, 2.0)
    with pytest.raises(KeyboardInterrupt), open_lines(output, names, HEADING) as lines:
        for name in names:
            lines[1](name, old[name])
        raise KeyboardInterrupt
    os.utime(names[0], (seconds, seconds))
    with pytest.raises(KeyboardInterrupt), open_lines(output, names, HEADING) as lines:
        assert lines[0] == {names[1]}
        raise KeyboardInterrupt
    assert write(output, names, {}) == {names[1]}  # as if it were broken now
    assert output.read_text() == f"{names[1]} 2.000000\n"


def test_what_is_no_part_is_not_continued(names, tmp_path):
    part = tmp_path / "s.txt.part"
    part.write_text("a.wav\n")
    with pytest.raises(UserError, match=r"s.txt.part is there and is not of an inter"):
        write(tmp_path / "s.txt", names, dict.fromkeys(names, 1.0))
    assert part.read_text() == "a.wav\n"
    with pytest.raises(UserError, match=r"s.txt.part is one of the inputs"):
        write(tmp_path / "s.txt", [*names, str(part)], {})


def test_a_linked_score_file_stays_a_link(names, tmp_path):
    (tmp_path / "s.txt").symlink_to(tmp_path / "there" / "real.txt")
    write(tmp_path / "s.txt", names, dict.fromkeys(names, 1.0))
    assert (tmp_path / "s.txt").is_symlink()
    assert os.listdir(tmp_path / "there") == ["real.txt"]


def test_two_commands_do_not_write_one_file(names, tmp_path):
    with (tmp_path / "s.txt.part").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another command is writing"):
            write(tmp_path / "s.txt", names, {})
    assert (tmp_path / "s.txt.part").exists()


def test_other_frozen_weights_are_no_run_of_ours(own_smoke_run, names, tmp_path):
    path = own_smoke_run / "frozen.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "sha256": "0" * 64}))
    with pytest.raises(UserError, match="other frozen weights"):
        recordings.score(own_smoke_run, names, output=tmp_path / "s.txt")
    path.unlink()  # a run that was passed on without it
    shutil.copytree(own_smoke_run, tmp_path / "copy")
    recordings.score(tmp_path / "copy", names, output=tmp_path / "s.txt")
