"""Which recordings arguments, folders and lists name."""

import io
import os
import types

import pytest

from mldg_jax.common.errors import UserError
from mldg_jax.scoring.recording_paths import collect


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two recordings, and a folder with two more, in the working directory."""
    (tmp_path / "audio" / "sub").mkdir(parents=True)
    for name in ("deep.wav", "phone.wav", "sub/fifth.wav", "sub/short.ogg"):
        (tmp_path / "audio" / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "audio"


def test_lists_and_standard_input_name_recordings(folder, tmp_path, monkeypatch):
    paths = [str(folder / "deep.wav"), str(folder / "phone.wav")]
    listed = tmp_path / "some.txt"
    listed.write_text("\n".join(paths) + "\n\n")
    given = io.TextIOWrapper(io.BytesIO(f"{paths[0]}\n".encode()))
    monkeypatch.setattr("sys.stdin", given)
    assert collect([str(listed)]) == (paths, [])
    assert collect(["-"]) == (paths[:1], [])
    # each once, in the order of the command line
    both, _ = collect([paths[1], str(listed), str(folder)])
    assert both[:2] == [paths[1], paths[0]] and len(both) == len(set(both)) == 4


def test_a_standard_input_without_a_list(monkeypatch):
    """Closed, or open for writing only."""
    with open(os.devnull, "wb") as unreadable:
        stream = types.SimpleNamespace(buffer=unreadable)
        for stdin in (None, stream):
            monkeypatch.setattr("sys.stdin", stdin)
            with pytest.raises(
                UserError, match=r"input cannot be read \(.* instead of"
            ):
                collect(["-"])


def test_lists_have_comments_and_folders(folder, tmp_path):
    (tmp_path / "#take.wav").touch()
    (tmp_path / "list.txt").write_text(f"# mine\n#take.wav\n{folder}/sub\n#x.wav\n")
    sub = [str(folder / "sub" / name) for name in ("fifth.wav", "short.ogg")]
    assert collect(["list.txt"]) == (["#take.wav", *sub], [])
    (tmp_path / "list.txt").write_text("# nothing\n\n")
    for name in ("list.txt", "list.csv", "list.m3u"):
        (tmp_path / name).touch()
        with pytest.raises(UserError, match="one path per line") as refusal:
            collect([name])
        assert len(str(refusal.value)) < 120


def test_files_of_macos_are_passed_over(tmp_path, caplog):
    for name in ("a.wav", "._a.wav", "b.doc", "c.doc"):
        (tmp_path / name).touch()
    caplog.set_level("INFO", logger="mldg_jax")
    assert collect([str(tmp_path)])[0] == [str(tmp_path / "a.wav")]
    assert "3 without an audio file's name (.doc: 2, ._*: 1)" in caplog.text


def test_paths_of_a_list_are_relative_to_the_working_directory(
    tmp_path, monkeypatch, caplog
):
    folder = tmp_path / "lists"
    folder.mkdir()
    for name in ("a.wav", "b.wav"):
        (folder / name).touch()
    (folder / "all.txt").write_text("a.wav\nb.wav\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"its lines \(2\).*run the command in lists"):
        collect(["lists/all.txt"])
    (tmp_path / "b.wav").touch()  # one of them exists, too
    assert collect(["lists/all.txt"]) == (["a.wav", "b.wav"], [])
    (said,) = caplog.records
    assert "lists/all.txt: 1 of its paths" in said.getMessage()
    assert "run the command in lists" in said.getMessage()
    caplog.clear()
    monkeypatch.chdir(folder)  # where both exist
    assert collect(["all.txt"]) == (["a.wav", "b.wav"], [])
    assert not caplog.records


def test_a_text_that_is_no_list_gets_one_message(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.wav").touch()
    lines = ["HE SAID", "no name of a file is as long as this line " * 99] * 50
    (tmp_path / "transcript.txt").write_text("\n".join(lines))
    words = r"transcript.txt: none of its lines \(100\).* first is 'HE SAID'"
    with pytest.raises(UserError, match=words) as caught:
        collect(["transcript.txt"])
    assert "run the command in" not in str(caught.value)
    assert len(str(caught.value)) < 250
    found, problems = collect(["transcript.txt", "a.wav"])
    assert found == ["a.wav"] and len(problems) == 1


def test_an_empty_path_is_not_this_folder(tmp_path):
    with pytest.raises(UserError, match="an empty path"):
        collect([""])


@pytest.mark.parametrize("mark", ["utf-8-sig", "utf-16"])
def test_lists_of_windows_are_read(tmp_path, monkeypatch, mark):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.wav").touch()
    path = tmp_path / "list.txt"
    path.write_bytes("a.wav\r\n b\u2028.wav \r\n\r\nc d.wav".encode(mark))
    listed, _ = collect([str(path)])
    assert listed == ["a.wav", "b\u2028.wav", "c d.wav"]


def test_lists_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes("é.wav\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"list.txt is not UTF-8 text \(byte 0xe9"):
        collect([str(path)])
    path.write_bytes(bytes(64))
    with pytest.raises(UserError, match="not text"):
        collect([str(path)])
