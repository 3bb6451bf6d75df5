"""Writing: whole or not at all, and refused before the work."""

import os

import pytest

from mldg_jax import cli
from mldg_jax.common import files
from mldg_jax.common.errors import UserError


def test_replacing_keeps_the_old_file_on_an_error(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(ZeroDivisionError), files.replacing(path) as part:
        part.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == ["a.txt"]


def test_a_full_disk_is_one_message():
    with (
        pytest.raises(UserError, match=r"cannot write to /dev: No space left"),
        open("/dev/full", "w") as full,
        files.writing("/dev"),
    ):
        full.write("x" * 100_000)


def test_a_folder_that_can_be_made_is_not_made(tmp_path):
    files.check_folder(tmp_path / "a" / "b")
    files.check_output(tmp_path / "a" / "b.txt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", "empty path"),
        ("file/out", "is not a folder"),
        ("file/a/b", "is not a folder"),
        ("x" * 300 + "/out", "File name too long"),
    ],
)
def test_an_impossible_folder(tmp_path, monkeypatch, path, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=words):
        files.check_folder(path)


def test_a_read_only_folder(tmp_path, monkeypatch):
    """Also for root, to whom only a read-only file system says no."""
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    for check in (files.check_folder, files.check_output):
        with pytest.raises(UserError, match=f"cannot write to {tmp_path}.*denied"):
            check(tmp_path / "new" / "out")
    assert not (tmp_path / "new").exists()


def test_a_folder_below_proc(capsys):
    """Access is granted there, and then nothing can be created."""
    for check in (files.check_folder, files.check_output):
        with pytest.raises(UserError, match="cannot write to /proc"):
            check("/proc/new/out")
    with pytest.raises(UserError, match="cannot write to /proc"):
        files.write_text(files.Path("/proc/new/out"), "x")
    for command, words in COMMANDS.items():
        out = ["/proc/new/out" if word == "OUT" else word for word in words]
        assert cli.main(out) == 2, command
        message = capsys.readouterr().err
        assert "cannot write to /proc" in message and message.count("\n") == 1


def test_a_missing_input_is_not_taken_for_an_output(tmp_path):
    with (
        pytest.raises(FileNotFoundError),
        files.replacing(tmp_path / "out"),
        open(tmp_path / "none"),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_only_a_full_disk_asks_for_space(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write to") as error:
        files.write_text(tmp_path / "file" / "out", "x")
    assert "free some space" not in str(error.value)


@pytest.mark.parametrize("path", ["", ".", "/dev/full"])
@pytest.mark.parametrize("writable", [True, False])  # the folder that it is in
def test_an_output_that_is_no_file(path, writable, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *arguments: writable)
    with pytest.raises(UserError, match=r"empty path|cannot be replaced"):
        files.check_output(path)


def test_an_input_is_no_output(tmp_path):
    path = tmp_path / "keys.csv"
    path.write_text("utterance,label")
    (tmp_path / "link.csv").symlink_to(path)
    with pytest.raises(UserError, match="is one of the inputs"):
        files.check_output(tmp_path / "link.csv", ["no/such/file", path])
    files.check_output(tmp_path / "other.csv", [path])


def test_a_symbolic_link_stays_and_its_target_is_written(tmp_path):
    target, link = tmp_path / "a" / "target.txt", tmp_path / "link.txt"
    link.symlink_to(target)
    for text in ("new", "newer"):
        files.check_output(link)
        files.write_text(link, text)
        assert link.is_symlink() and target.read_text() == text
    assert os.listdir(target.parent) == ["target.txt"]
    link.unlink()
    link.symlink_to("/proc/new/out")
    with pytest.raises(UserError, match="cannot write to /proc"):
        files.check_output(link)


COMMANDS = {
    "score": ["score", "RUN", "a.wav", "--output", "OUT"],
    "score timeline": ["score", "RUN", "a.wav", "--timeline", "OUT"],
    "evaluate html": ["evaluate", "--scores", "s", "--keys", "k", "--html", "OUT"],
    "evaluate figures": ["evaluate", "--scores", "s", "--keys", "k",
                         "--figures", "OUT"],
    "export": ["export", "RUN", "OUT"],
    "analyse": ["analyse", "RUN", "--output", "OUT"],
    "compare": ["compare", "--config", "tests/tiny.py", "--methods", "mldg",
                "--workdir", "OUT"],
    "corpus build": ["corpus", "build", "debspoof", "--data-dir", "OUT"],
}  # fmt: skip


def test_an_analysis_replaces_no_other_report(tmp_path, capsys):
    (tmp_path / "report.html").write_text("<!DOCTYPE html>")
    assert cli.main(["analyse", "no/run", "--output", str(tmp_path)]) == 2
    assert "report.html is there and is not of an analysis" in capsys.readouterr().err
    (tmp_path / "arrays.npz").touch()
    assert cli.main(["analyse", "no/run", "--output", str(tmp_path)]) == 2
    assert "no/run is not a run folder" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_check_before_they_work(command, tmp_path, capsys):
    """Neither the run nor the scores exist: the output is what is checked first."""
    (tmp_path / "file").touch()
    out = str(tmp_path / "file" / "out")
    arguments = [out if word == "OUT" else word for word in COMMANDS[command]]
    assert cli.main(arguments) == 2
    message = capsys.readouterr().err
    assert "cannot write to" in message and message.count("\n") == 1
