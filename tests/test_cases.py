"""Inputs from public bug reports, each with its right value.

They are not in the repository (../shared/cases); the tests of each module have files of
the same kinds, made on the spot.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

import mldg_jax
from mldg_jax import UserError, cli
from mldg_jax.data import audio
from mldg_jax.data.corpora import manifest, prepare

CASES = Path("../shared/cases/files")
pytestmark = pytest.mark.skipif(not CASES.exists(), reason="needs ../shared/cases")


def copy(case: str, folder: Path) -> Path:
    """Copies a case to where it can be written."""
    # ``copyfile``: the originals are read-only; links stay links.
    shutil.copytree(
        CASES / case, folder, symlinks=True, copy_function=shutil.copyfile,
        dirs_exist_ok=True,
    )  # fmt: skip
    for path, _, _ in os.walk(folder):
        os.chmod(path, 0o755)
    return folder


def run(*arguments, capsys) -> tuple[int, str, str]:
    capsys.readouterr()
    status = cli.main([str(x) for x in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def scores(text: str) -> dict[str, str]:
    """Returns scores by the names of the files."""
    lines = [line.rsplit(" ", 1) for line in text.split("\n")[:-1]]
    return {Path(name).name: score for name, score in lines}


@pytest.mark.parametrize(
    ("file", "base"),
    [
        ("flac_unknown_length/pipe.flac", "flac_unknown_length/base.wav"),
        ("wav_ffmpeg_pipe/pipe.wav", "wav_ffmpeg_pipe/base.wav"),
        ("wav_placeholder_7fffffff/oboe.wav", "wav_ffmpeg_pipe/base.wav"),
        ("wav_riff_size_off_by_8/recordrtc.wav", "wav_riff_size_off_by_8/base.wav"),
        ("ogg_flac/o.ogg", "wav_ffmpeg_pipe/base.wav"),
    ],
)
def test_bit_for_bit(file, base):
    expected = soundfile.read(CASES / base, dtype="float32")[0]
    read = audio.read(CASES / file)
    if file.startswith("ogg_flac"):  # another recording
        assert len(read) > 16_000 and np.abs(read).max() > 0.01
        return
    assert len(read) == 48_000
    np.testing.assert_array_equal(read, expected)


def test_an_mp3_without_a_length_is_read_to_its_end():
    folder = CASES / "mp3_vbr_no_xing"
    read = audio.read(folder / "vbr_noxing.mp3")
    assert len(read) == 49_536  # by ffmpeg
    with_length = audio.read(folder / "vbr_with_xing.mp3")
    # its header says how many samples of delay to drop
    assert 48_000 <= len(with_length) <= 49_536


def test_gsm():
    expected, rate = soundfile.read(CASES / "wav_gsm610" / "voicemail.wav")
    assert (len(expected), rate) == (24_320, 8_000)
    assert len(audio.read(CASES / "wav_gsm610" / "voicemail.wav")) == 48_640


def test_content_decides(smoke_run, capsys):
    folder = CASES / "m4a_named_wav"
    names = ["m4a_named.wav", "m4a_named.mp3", "good.m4a"]
    files = [folder / name for name in names]
    status, out, _ = run("score", smoke_run, *files, capsys=capsys)
    assert status == 0 and list(scores(out)) == names
    assert len(set(scores(out).values())) == 1


def test_int16_as_floats_is_refused():
    with pytest.raises(audio.Unusable, match=r"within \[-1, 1\].*divide 16-bit"):
        audio.read(CASES / "wav_float_int16_range" / "float_int16scale.wav")


def test_arrays(smoke_run):
    scorer = mldg_jax.load(smoke_run)
    whole, rate = soundfile.read(
        CASES / "array_int16_range_floats" / "base.wav", dtype="int16"
    )
    assert scorer.score(whole, rate) == scorer.score(whole / 2**15, rate)
    with pytest.raises(UserError, match=r"\[-1, 1\]"):
        scorer.score(whole.astype(np.float32), rate)
    stereo, rate = soundfile.read(CASES / "array_samples_by_channels" / "stereo.wav")
    assert scorer.score(stereo, rate) == scorer.score(stereo.T, rate)


def test_a_folder_leaves_nothing_out(smoke_run, capsys):
    folder = CASES / "folder_skips_formats" / "inbox"
    status, out, err = run("score", smoke_run, folder, capsys=capsys)
    assert set(scores(out)) == {path.name for path in folder.iterdir()}, err
    assert status == 0 and len(scores(out)) == 4


def test_a_list_with_a_byte_order_mark(smoke_run, capsys, monkeypatch):
    monkeypatch.chdir(CASES / "list_with_bom")
    status, out, _ = run("score", smoke_run, "list.txt", capsys=capsys)
    assert status == 0 and set(scores(out)) == {"base.wav", "two.wav"}


def test_a_name_with_a_line_separator(smoke_run, tmp_path, capsys):
    folder = CASES / "score_output_line_separator_in_name" / "in"
    output = tmp_path / "s.txt"
    status, _, _ = run("score", smoke_run, folder, "--output", output, capsys=capsys)
    assert status == 0
    assert output.read_text().count("\n") == len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("case", ["webm", "mkv"])
def test_ten_minutes_hold_without_a_length(tmp_path, case):
    """Made as a browser does: the container has no duration."""
    av = pytest.importorskip("av")
    path = tmp_path / f"long.{case}"
    options = {"live": "1"}
    with av.open(str(path), "w", options=options) as container:
        track = container.add_stream("libopus", rate=48_000, layout="mono")
        quiet = 100 * np.random.default_rng(0).normal(size=48_000)
        for second in range(700):
            frame = av.AudioFrame.from_ndarray(
                quiet.astype(np.int16)[None], format="s16", layout="mono"
            )
            frame.rate, frame.pts = 48_000, 48_000 * second
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    with av.open(str(path)) as container:
        assert container.duration is None
    with pytest.raises(audio.Unusable) as info:
        audio.clip(path)
    assert info.value.reason == "too-long"


def test_a_table_in_a_hub_cache(tmp_path):
    root = copy("manifest_in_hf_cache", tmp_path)
    for path in (root / "snapshots").rglob("*"):
        # the links came as text files with their targets
        if path.is_file() and not path.is_symlink():
            target = path.read_bytes()
            if target.startswith(b"../"):
                path.unlink()
                path.symlink_to(target.decode().strip())
    found = manifest.scan(root / "snapshots" / "abc" / "table.csv")
    assert (len(found.rows), found.missing, found.problems) == (6, [], [])


def test_stray_quotes_in_a_tsv():
    found = manifest.scan(CASES / "manifest_tsv_stray_quotes" / "t.tsv")
    label = {Path(row.path).stem: row.label for row in found.rows}
    assert len(label) == 11 and not found.problems and not found.missing
    assert (label["f3"], label["r5"]) == ("spoof", "bonafide")


def test_line_separators_in_a_transcript(tmp_path):
    root = copy("manifest_unicode_line_separator", tmp_path)
    folder, report = prepare.build(
        "manifest", root / "t.csv", tmp_path / "out", workers=1, progress=False
    )
    assert report is not None and report.splits[0].found == 2 and not report.problems
    assert (folder / "dataset_info.json").exists()


@pytest.mark.parametrize(
    ("case", "files", "words"),
    [
        ("csv_no_header_score_label", "scores.csv key.txt", "have no header|no header"),
        ("three_columns_name_label_score", "scores.txt key.txt", "three columns"),
        ("key_numbers_1_is_fake", "scores.txt labels.csv", "half of the field has 1"),
    ],
)
@pytest.mark.parametrize("command", ["check", "evaluate"])
def test_what_could_be_misread_is_refused(case, files, words, command, capsys):
    score, keys = (CASES / case / name for name in files.split())
    arguments = [score] if command == "check" else ["--scores", score]
    status, out, err = run(command, *arguments, "--keys", keys, capsys=capsys)
    assert status == 2
    assert any(word in out + err for word in words.split("|")), out + err


@pytest.mark.parametrize(
    ("case", "files"),
    [
        ("key_csv_blank_after_comma", "scores.txt k.csv"),
        ("scores_with_folder_prefix", "prefix.txt meta_data.csv"),
        ("scores_with_folder_prefix", "mp3.txt meta_data.csv"),
    ],
)
def test_what_is_meant_is_understood(case, files, capsys):
    score, keys = (CASES / case / name for name in files.split())
    status, out, err = run("check", score, "--keys", keys, capsys=capsys)
    assert status == 0, out + err


def test_trials_under_another_root_have_their_error_rate(capsys):
    folder = CASES / "scores_with_folder_prefix"
    for name in ("prefix.txt", "mp3.txt"):
        arguments = ["--scores", folder / name, "--keys", folder / "meta_data.csv"]
        status, out, _ = run(
            "evaluate", *arguments, "--replicas", 0, "--json", capsys=capsys
        )
        assert status == 0 and '"eer": 0.12666' in out, out[:600]
