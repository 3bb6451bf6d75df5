"""Scoring recordings: formats, resuming, refusals; batching changes no score."""

import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile

import mldg_jax
from mldg_jax import cli
from mldg_jax.common.errors import UserError
from mldg_jax.models import split
from mldg_jax.scoring import programs, recording_paths, recordings
from mldg_jax.scoring.calibration import Calibration
from mldg_jax.scoring.score_output import heading_of
from mldg_jax.scoring.scorer import load, load_parameters, score_waveforms, stream
from mldg_jax.scoring.timeline import write
from mldg_jax.scoring.windows import Windows, starts
from tests import signals


def speech(seconds: float, rate: int = 16_000, seed: int = 0) -> np.ndarray:
    return signals.speech_like(int(seconds * rate), seed)[0]


def scores(text: str) -> dict[str, float]:
    lines = [line.rsplit(" ", 1) for line in text.splitlines()]
    return {Path(name).name: float(score) for name, score in lines}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Recordings of many formats, good and bad."""
    folder = tmp_path_factory.mktemp("audio")
    (folder / "sub").mkdir()
    stereo = np.stack([speech(1.0, 44_100), speech(1.0, 44_100, 1)], 1)
    soundfile.write(folder / "phone.wav", speech(2.0, 8_000), 8_000)
    soundfile.write(folder / "stereo.flac", stereo, 44_100)
    soundfile.write(folder / "deep.wav", speech(1.0), 16_000, subtype="PCM_24")
    soundfile.write(folder / "float.wav", speech(1.0), 16_000, subtype="FLOAT")
    soundfile.write(folder / "sub" / "short.ogg", speech(0.3), 16_000)
    soundfile.write(folder / "sub" / "fifth.wav", speech(0.2), 16_000)
    soundfile.write(folder / "silence.wav", np.zeros(16_000), 16_000)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("this is text")
    (folder / "notes.doc").write_text("no audio, and not named so")
    return folder


GOOD = {"phone.wav", "stereo.flac", "deep.wav", "float.wav", "short.ogg", "fifth.wav"}


def test_a_folder_is_searched_and_what_cannot_be_scored_is_named(
    smoke_run, folder, capsys
):
    assert cli.main(["score", str(smoke_run), str(folder)]) == 2
    captured = capsys.readouterr()
    found = scores(captured.out)
    assert found.keys() == GOOD and all(map(np.isfinite, found.values()))
    problems = [x for x in captured.err.splitlines() if x.startswith("mldg: /")]
    assert sorted(Path(p.split(":")[1].strip()).name for p in problems) == [
        "empty.wav", "silence.wav", "text.wav"
    ]  # fmt: skip
    assert found["deep.wav"] == pytest.approx(found["float.wav"], abs=1e-3)
    assert f"passed over in {folder}: 1 without an audio file's" in captured.err
    assert "(.doc: 1)" in captured.err


def test_nothing_to_score_is_refused(smoke_run, tmp_path):
    with pytest.raises(UserError, match="there is no audio file in this folder"):
        recording_paths.collect([str(tmp_path)])
    with pytest.raises(UserError, match=r"overlap is 1\.0 windows"):
        recordings.score(smoke_run, ["a.wav"], output=sys.stdout, overlap=1.0)


def test_an_empty_folder_or_a_bad_list_stops_no_other(
    smoke_run, folder, tmp_path, capsys
):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.txt").write_bytes(b"\xe9.wav\n")
    bad = [str(tmp_path / "empty"), str(tmp_path / "bad.txt")]
    assert cli.main(["score", str(smoke_run), *bad, str(folder / "deep.wav")]) == 2
    captured = capsys.readouterr()
    assert list(scores(captured.out)) == ["deep.wav"]
    problems = [x for x in captured.err.splitlines() if x.startswith("mldg: /")]
    assert [x.split(":")[1].split()[0] for x in problems] == bad


def test_batching_and_padding_change_no_score(smoke_run, folder):
    """A recording alone in its batch, and among others in any order."""
    scorer = mldg_jax.load(smoke_run)
    rng = np.random.default_rng(0)
    clips = [speech(s, seed=i) for i, s in enumerate(rng.uniform(0.2, 3.0, 40))]
    together = score_waveforms(scorer, clips)
    alone = np.array([scorer.score(clip, 16_000) for clip in clips])
    backwards = score_waveforms(scorer, clips[::-1])[::-1]
    assert together.shape == (40,) and np.ptp(together) > 1e-3
    np.testing.assert_allclose(together, alone, atol=1e-4)
    np.testing.assert_allclose(together, backwards, atol=1e-4)


def test_recordings_are_asked_for_one_batch_at_a_time(smoke_run):
    """And each is yielded as soon as its last window is scored."""
    scorer = mldg_jax.load(smoke_run)
    shapes = [1, 20, 3, 8, 2]  # windows; batches of 16 end within the second and last
    clips = [speech(n * scorer.samples / 16_000, seed=n) for n in shapes]
    asked, yielded = [], []

    def waveforms():
        for place, clip in enumerate(clips):
            asked.append((place, len(yielded)))
            yield clip

    for windows in stream(scorer, waveforms()):
        yielded.append(len(windows.score))
    assert yielded == shapes
    assert asked == [(0, 0), (1, 0), (2, 1), (3, 1), (4, 4)]


def test_one_program_serves_recordings_of_every_length(smoke_run):
    scorer = mldg_jax.load(smoke_run)
    scorer.score(speech(1.0), 16_000)
    before = programs.scores._cache_size()
    for seconds in (0.2, 0.7, 5.3):
        scorer.score(speech(seconds), 16_000)
    assert programs.scores._cache_size() == before


def test_merged_adapters_score_as_factored_ones(smoke_run):
    merged, parts = load(smoke_run), load_parameters(smoke_run)
    frozen = {"frontend": parts.frontend}
    variables = split.variables(parts.trainable, parts.batch_stats, frozen)
    factored = merged._replace(variables=variables)
    clips = [speech(1.0, seed=i) for i in range(4)]
    np.testing.assert_allclose(
        score_waveforms(merged, clips),
        score_waveforms(factored, clips),
        atol=1e-4,
    )


@pytest.mark.parametrize("length", [1, 99, 100, 101, 250, 1_000, 12_345])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.75])
def test_windows_cover_a_recording_and_overlap_as_asked(length, overlap):
    first = starts(length, 100, overlap)
    assert first[0] == 0 and (first[-1] == max(0, length - 100))
    assert (np.diff(first) <= np.ceil(100 * (1 - overlap))).all()
    assert len(first) <= 1 + np.ceil(max(0, length - 100) / (100 * (1 - overlap)))


def test_a_timeline_says_when(smoke_run, tmp_path):
    """As a table and a picture; the overlap does not change the score."""
    path = tmp_path / "two halves.wav"
    soundfile.write(path, speech(3.0), 16_000)
    output = tmp_path / "scores.txt"
    recordings.score(
        smoke_run, [str(path)], output=output, timeline=tmp_path, overlap=0.5
    )
    (table,) = tmp_path.glob("*.tsv")
    rows = np.loadtxt(table, skiprows=2)
    assert rows[0, 0] == 0 and rows[-1, 1] == pytest.approx(3.0)
    assert (rows[1:, 0] < rows[:-1, 1]).all()  # no gap
    (score,) = scores(output.read_text()).values()
    plain = tmp_path / "plain.txt"
    recordings.score(smoke_run, [str(path)], output=plain)
    assert scores(plain.read_text())[path.name] == pytest.approx(score, abs=2e-6)
    assert rows[:, 2].mean() != pytest.approx(score, abs=1e-4)  # of more windows
    detector = load(smoke_run)
    coarse = detector.timeline(speech(3.0), 16_000)
    fine = detector.timeline(speech(3.0), 16_000, overlap=0.5)
    assert len(fine.score) == len(rows) > len(coarse.score)
    assert fine.recording_score == pytest.approx(coarse.score.mean(), abs=1e-5)
    (picture,) = tmp_path.glob("*.svg")
    assert "time (s)" in picture.read_text() and "two halves" in picture.read_text()
    assert f"mean: {score:.2f}, the recording" in picture.read_text()
    assert 'id="timeline-zero"' in picture.read_text()


def test_a_detector_prints_as_a_line(smoke_run):
    detector = load(smoke_run)
    sizes = [x.size for x in jax.tree.leaves(detector.variables["params"])]
    said = repr(detector)
    assert len(said) < 200 and "\n" not in said and f"{sum(sizes):,} param" in said
    config = detector.config
    for part in (config.method, config.model.frontend["kind"], "0.25 s, "):
        assert part in said
    calibration = Calibration(1.0, 0.0, 0.5, 9, 9)
    assert ("not calibrated" in said) == (detector.calibration is None)
    assert "not" not in repr(detector._replace(calibration=calibration))


def test_a_killed_command_goes_on_where_it_was(smoke_run, tmp_path):
    audio = tmp_path / "audio"
    audio.mkdir()
    for i in range(40):
        soundfile.write(audio / f"{i:02d}.wav", speech(0.5, seed=i), 16_000)
    output, part = tmp_path / "scores.txt", tmp_path / "scores.txt.part"
    command = [
        sys.executable,
        "-m",
        "mldg_jax.cli",
        "score",
        str(smoke_run),
        str(audio),
    ]
    process = subprocess.Popen([*command, "--output", str(output)], stderr=-3)
    while process.poll() is None:
        if part.exists() and part.read_text().count("\n") > 5:
            os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.005)
    if process.returncode:  # killed in time
        assert not output.exists()
        with part.open("a") as file:
            file.write(str(audio / "39.wav"))  # an incomplete last line
    kept = part.read_text() if part.exists() else ""
    recordings.score(smoke_run, [str(audio)], output=output)
    assert not part.exists()
    found = scores(output.read_text())
    assert list(found) == [f"{i:02d}.wav" for i in range(40)]
    unstamped = {line.partition(" ")[2] for line in kept.splitlines()[1:-1]}
    assert unstamped <= set(output.read_text().splitlines())
    recordings.score(smoke_run, [str(audio)], output=tmp_path / "again.txt")
    assert scores((tmp_path / "again.txt").read_text()) == pytest.approx(
        found, abs=1e-4
    )


def test_a_part_of_another_run_is_not_continued(smoke_run, folder, tmp_path):
    output, part = tmp_path / "scores.txt", tmp_path / "scores.txt.part"
    name = str(folder / "deep.wav")
    part.write_text(f"# another/run overlap 0\n{name} 99.0\n")
    recordings.score(smoke_run, [name], output=output)
    assert scores(output.read_text())["deep.wav"] != 99.0


ODD = ("a b.wav", "é.wav", "new\nline.wav", "tab\t.wav", "u\u2028x.wav",
       "n\x85.wav", "\x1b[31mred.wav", "back\\slash.wav", "back\\nslash.wav",
       "\udcff.wav")  # fmt: skip


def test_a_name_may_be_anything(smoke_run, tmp_path, capsys):
    """One line a recording, which resumes, whatever its name is made of."""
    folder, output = tmp_path / "in", tmp_path / "scores.txt"
    folder.mkdir()
    for name in ODD:
        soundfile.write(tmp_path / "one.wav", speech(0.3), 16_000)
        os.rename(tmp_path / "one.wav", folder / name)
    command = ["score", str(smoke_run), str(folder), "--output", str(output)]
    assert cli.main([*command, "--timeline", str(tmp_path / "segments")]) == 0
    lines = output.read_text().split("\n")[:-1]
    assert len(lines) == len(set(lines)) == len(ODD)
    assert len({line.rsplit(" ", 1)[1] for line in lines}) == 1
    assert any(r"new\nline.wav" in line for line in lines)
    assert len(list((tmp_path / "segments").glob("*.tsv"))) == len(ODD)
    for picture in (tmp_path / "segments").glob("*.svg"):
        ET.parse(picture)
    part = Path(f"{output}.part")  # as if it had been stopped before its end
    stamped = [heading_of(smoke_run, 0)]
    for name, line in zip(
        recording_paths.collect([str(folder)])[0][:7], lines, strict=False
    ):
        stamped.append(f"{os.stat(name).st_size}:{os.stat(name).st_mtime_ns} {line}")
    part.write_text("\n".join(stamped) + "\n")
    output.unlink()
    assert cli.main(command) == 0
    assert output.read_text().split("\n")[:-1] == lines
    capsys.readouterr()
    assert cli.main(["score", str(smoke_run), str(folder)]) == 0
    captured = capsys.readouterr()
    assert captured.out.split("\n")[:-1] == lines and "\x1b" not in captured.err


def test_a_message_about_any_name_is_one_line(smoke_run, tmp_path, capsys):
    for name in ODD:
        (tmp_path / name).write_bytes(b"no sound")
    capsys.readouterr()
    assert cli.main(["score", str(smoke_run), str(tmp_path)]) == 2
    lines = capsys.readouterr().err.split("\n")[:-1]
    assert sum("cannot be read as audio" in line for line in lines) == len(ODD)
    assert not any("\x1b" in line or "\r" in line for line in lines)


def test_segment_scores_have_files_of_their_own(tmp_path, monkeypatch):
    """A function of the recording's path: no later command replaces another's."""
    monkeypatch.chdir(tmp_path)
    windows = Windows(np.array([0.0]), np.array([0.3]), np.array([1.5]), 1.5)
    long = f"{'x' * 120}/{'y' * 240}.wav"
    names = ["a/x.wav", "a_x.wav", "a_X.wav", "b/x.wav", "p$a$.wav", "new\nline", long]
    for name in names:
        write(Path("t"), name, windows)
    Path("a").mkdir()
    monkeypatch.chdir("a")
    write(tmp_path / "t", "x.wav", windows)  # the first again
    write(tmp_path / "t", "./x.wav", windows)
    tables = {path.name: path.read_text() for path in (tmp_path / "t").glob("*.tsv")}
    assert len({name.casefold() for name in tables}) == len(names)
    assert {path.parent for path in (tmp_path / "t").rglob("*.*")} == {tmp_path / "t"}
    (b,) = (text for text in tables.values() if text.startswith("# b/x.wav\n"))
    assert b == "# b/x.wav\nstart\tend\tscore\n0.000\t0.300\t1.500000\n"
    assert sum(text.startswith("# new\\nline\n") for text in tables.values()) == 1
    pictures = [path.read_text() for path in (tmp_path / "t").glob("*.svg")]
    assert len(pictures) == len(names)
    assert sum("b/x.wav" in text for text in pictures) == 1
    assert sum("p$a$.wav" in text for text in pictures) == 1


@pytest.mark.parametrize("output", ["", "/dev/full", "folder", "file/below.txt"])
def test_an_output_that_cannot_be_is_refused_before_work(tmp_path, output, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("file").write_text("kept")
    with pytest.raises(UserError, match=r"empty path|not a file|cannot write"):
        recordings.score("no/such/run", ["a.wav"], output=output)
    assert Path("file").read_text() == "kept" and not Path("/dev/full").is_file()


def test_one_bad_recording_never_stops_the_others(
    smoke_run, tmp_path, monkeypatch, capsys
):
    """Whatever a decoder raises is the line of its recording."""
    for name in ("a.wav", "b.wav", "c.wav"):
        soundfile.write(tmp_path / name, speech(0.3), 16_000)
    read = recordings.audio.read

    def broken(path):
        if str(path).endswith("b.wav"):
            raise MemoryError("4 TiB")
        return read(path)

    monkeypatch.setattr(recordings.audio, "read", broken)
    assert cli.main(["score", str(smoke_run), str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert scores(captured.out).keys() == {"a.wav", "c.wav"}
    assert "b.wav: cannot be read (MemoryError: 4 TiB)" in captured.err


def test_a_score_file_is_announced(smoke_run, tmp_path, capsys):
    """With the number of its lines and of what has none, unless quiet."""
    audio, output = tmp_path / "audio", tmp_path / "scores.txt"
    audio.mkdir()
    for name in ("a.wav", "b.wav"):
        soundfile.write(audio / name, speech(0.3), 16_000)
    (audio / "c.wav").write_bytes(b"not audio")
    command = ["score", str(smoke_run), str(audio), "--output", str(output)]
    assert cli.main(command) == 2
    assert f"mldg: 2 scored → {output} (1 refused)\n" in capsys.readouterr().err
    assert len(scores(output.read_text())) == 2
    (audio / "c.wav").unlink()
    assert cli.main(command) == 0
    assert f"mldg: 2 scored → {output}\n" in capsys.readouterr().err
    assert cli.main([*command, "--quiet"]) == 0
    assert "scored" not in capsys.readouterr().err


def test_a_score_that_is_no_number_is_not_written(
    smoke_run, tmp_path, monkeypatch, capsys
):
    soundfile.write(tmp_path / "a.wav", speech(0.3), 16_000)
    scorer = load(smoke_run)
    broken = jax.tree.map(lambda x: x * np.nan, scorer.variables)
    monkeypatch.setattr(
        recordings, "load", lambda run: scorer._replace(variables=broken)
    )
    assert cli.main(["score", str(smoke_run), str(tmp_path / "a.wav")]) == 2
    captured = capsys.readouterr()
    assert not captured.out and "a.wav: its score is not finite" in captured.err
