"""Tests of ``mldg score --segments`` on a run with random parameters."""

import json
import re

import numpy as np
import pytest
import soundfile

from mldg_jax import cli
from mldg_jax.common.errors import UserError
from mldg_jax.data import audio, segment_files
from mldg_jax.models.detector import score_logits
from mldg_jax.scoring import recordings, scorer
from mldg_jax.scoring.segments import segment_decisions, segment_evaluation
from mldg_jax.scoring.segments.segment_metrics import LabelledFrames, measure
from mldg_jax.scoring.segments.segment_output import audacity, rttm, spoofed_parts
from mldg_jax.scoring.windows import joined_frames
from tests import random_runs, signals

SECONDS = (0.25, 0.4, 1.013)  # shorter than a window, as long, and longer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose head scores frames, in windows of 0.4 s."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(random_runs.HEADS, "frame", {"kind": "frame", "dim": 8})
        return random_runs.write(
            tmp_path_factory.mktemp("run"), "whisper", "frame", calibrated=True
        )


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for i, seconds in enumerate(SECONDS):
        wave = signals.speech_like(int(16_000 * seconds), seed=i)[i % 2]
        soundfile.write(folder / f"clip {i}.wav", wave, 16_000, subtype="FLOAT")
    return folder


def frames_alone(loaded, path):
    """Scores the frames of a recording window by window, without batches."""
    wave = audio.read(path)
    grid = [[] for _ in range(-(-len(wave) // 320))]
    count = 1 + int(np.ceil(max(0, len(wave) - 6_400) / 6_400))
    spare = max(0, len(wave) - 6_400)
    for k in range(count):
        begin = int(min(k / max(1, count - 1), 1 - 1e-9) * (spare + 1))
        window = np.resize(wave[begin : begin + 6_400], 6_400)  # repeats a short one
        out = loaded.detector.apply(
            loaded.variables, window[None],
            method=lambda module, x: module.locate(module.features(x)),
        )  # fmt: skip
        for j, score in enumerate(np.asarray(score_logits(out.frames))[0]):
            for g in range(len(grid)):
                middle = min(320 * g + 160, len(wave) - 1)
                if begin + 320 * j <= middle < begin + 320 * (j + 1):
                    grid[g].append(float(score))
    scale, offset = loaded.calibration.scale, loaded.calibration.offset
    return scale * np.array([np.mean(x) for x in grid]) + offset


def test_frames_are_those_of_the_windows_that_cover_them(run, clips):
    loaded = scorer.load(run)
    for path in sorted(clips.iterdir()):
        windows = loaded.timeline(*soundfile.read(path, dtype="float32"))
        np.testing.assert_allclose(
            windows.frames, frames_alone(loaded, path), rtol=1e-4, atol=1e-4
        )
        assert len(windows.frames) == int(np.ceil(windows.end[-1] / 0.02 - 1e-9))


def test_overlapping_frames_are_averaged():
    values = np.array([[1.0, 2.0], [10.0, 20.0]])
    joined = joined_frames(np.array([0, 320]), values, 640, 960)
    assert joined.tolist() == [1.0, 6.0, 20.0]
    # Off the grid, middles at 480, 800 and (clipped) 1039 decide.
    halfway = joined_frames(np.array([0, 400]), values, 640, 1_040)
    assert halfway.tolist() == [1.0, 6.0, 20.0, 20.0]


def test_the_command_writes_what_it_can_read_again(run, clips, tmp_path, capsys):
    keys = tmp_path / "keys.txt"
    keys.write_text(
        '"x" 0 1 bonafide\n'.replace('"x"', "clip_2") + "unused 0 1 spoof\n"
    )
    scores = tmp_path / "scores.txt"
    threshold = float(np.median(scorer.load(run).timeline(
        *soundfile.read(clips / "clip 2.wav", dtype="float32")).frames))  # fmt: skip
    command = ["score", str(run), str(clips), "--segments", str(tmp_path / "out")]
    assert not cli.main(
        [*command, "--threshold", f"{threshold}", "--output", str(scores)]
    )
    read = segment_evaluation.read_frames(tmp_path / "out")
    assert len(read) == 3
    loaded = scorer.load(run)
    for name, found in read.items():
        windows = loaded.timeline(*soundfile.read(name, dtype="float32"))
        np.testing.assert_allclose(found.score, windows.frames, atol=1e-5)
        assert found.seconds == pytest.approx(windows.end[-1], abs=1e-5)
        (text,) = (tmp_path / "out").glob(f"{name.rpartition('/')[2]}-*.rttm")
        assert f"log-likelihood ratio below {threshold:g}" in text.read_text()
        stem = text.name.removesuffix(".rttm")
        labels = segment_files.read(text)[
            "_".join(name.rpartition("/")[2][:-4].split())
        ]
        expected = spoofed_parts(windows.frames, found.seconds, threshold)
        np.testing.assert_allclose(labels, expected, atol=6e-4)
        track = (tmp_path / "out" / f"{stem}.labels.txt").read_text()
        assert len(track.splitlines()) == len(expected)
        assert (tmp_path / "out" / f"{stem}.svg").read_text().startswith("<svg")
    truth = tmp_path / "truth.csv"
    truth.write_text("utterance,start,end,label\nclip 0,0,.1,spoof\n"
                     "clip 1.wav,0,0.4,real\nclip 2,.5,.9,fake\n")  # fmt: skip
    capsys.readouterr()
    assert not cli.main(
        ["evaluate-segments", "--frames", str(tmp_path / "out"), "--keys", str(truth),
         "--json"]
    )  # fmt: skip
    result = json.loads(capsys.readouterr().out)
    parts = {"clip 0": [(0, 0.1)], "clip 1": [], "clip 2": [(0.5, 0.9)]}
    expected = measure([
        LabelledFrames(x.score, parts[name.rpartition("/")[2][:-4]], x.seconds)
        for name, x in read.items()
    ])  # fmt: skip
    assert result["range_based"] == pytest.approx(expected.range_based)
    assert result["by_resolution"]["40"] == pytest.approx(expected.by_resolution[40])
    assert result["spoof_seconds"] == pytest.approx(0.5)
    with pytest.raises(UserError, match="has no score of"):
        segment_evaluation.evaluate(tmp_path / "out", truth, _without_last(scores))
    given = segment_evaluation.evaluate(tmp_path / "out", truth, scores)
    assert given.range_based == pytest.approx(expected.range_based)


def _without_last(path):
    lines = path.read_text().splitlines()
    short = path.with_name("short.txt")
    short.write_text("\n".join(lines[:-1]) + "\n")
    return short


def test_the_truth_is_drawn_where_it_is_known(run, clips, tmp_path):
    truth = tmp_path / "truth.txt"
    truth.write_text("clip_1 0 1 bonafide\n")
    files = segment_decisions.prepare(tmp_path / "out", None, truth)
    assert files.threshold == 0
    renamed = clips / "clip 1.wav"
    (tmp_path / "clip_1.wav").write_bytes(renamed.read_bytes())
    paths = [str(tmp_path / "clip_1.wav"), str(renamed)]
    with (tmp_path / "scores").open("w") as output:
        recordings.score(run, paths, output=output, segments=files)
    drawn = {x.name[:6]: x.read_text() for x in (tmp_path / "out").glob("*.svg")}
    assert "truth" in drawn["clip_1"] and "truth" not in drawn["clip 1"]
    assert all("decision" in text for text in drawn.values())


def test_another_head_is_refused(tmp_path, clips):
    run = random_runs.write(tmp_path / "run", "whisper", "pooling")
    words = "the head pooling, which scores whole windows: --segments takes a run"
    with pytest.raises(UserError, match=words):
        recordings.score(
            run, [str(clips)], output=tmp_path / "scores.txt",
            segments=segment_decisions.prepare(tmp_path / "out"),
        )  # fmt: skip
    assert not (tmp_path / "out").exists() and not (tmp_path / "scores.txt").exists()


def test_options_of_segments_alone_are_refused(run, clips, capsys):
    assert cli.main(["score", str(run), str(clips), "--threshold", "1"]) == 2
    assert "--threshold applies to --segments" in capsys.readouterr().err
    with pytest.raises(UserError, match="finite"):
        segment_decisions.prepare("x", float("nan"))


def test_an_export_of_the_head_is_refused(run, tmp_path):
    from mldg_jax.exporting import formats

    with pytest.raises(UserError, match="'frame', which --format onnx cannot write"):
        formats.export_run(run, tmp_path / "out", "onnx")


def test_rttm_and_audacity_by_hand():
    parts = ((0.0, 0.1), (0.5, 0.98))
    text = rttm("a/b c.wav", parts, 1.0, -1.5, False).splitlines()
    assert re.fullmatch(r";; spoof: .* not calibrated, below -1\.5", text[0])
    assert text[1:] == [
        "SPEAKER b_c 1 0.000 0.100 <NA> <NA> spoof <NA> <NA>",
        "SPEAKER b_c 1 0.100 0.400 <NA> <NA> bonafide <NA> <NA>",
        "SPEAKER b_c 1 0.500 0.480 <NA> <NA> spoof <NA> <NA>",
        "SPEAKER b_c 1 0.980 0.020 <NA> <NA> bonafide <NA> <NA>",
    ]
    frames = np.r_[np.full(5, -2.0), np.zeros(20), np.full(24, -3.0), 0.0]
    assert audacity(parts, frames) == (
        "0.000000\t0.100000\tspoof -2.00\n0.500000\t0.980000\tspoof -3.00\n"
    )
    np.testing.assert_allclose(spoofed_parts(frames, 1.0, -1.5), parts)
    assert spoofed_parts(frames[:3], 0.05, -1.5) == ((0.0, 0.05),)


@pytest.mark.parametrize(
    ("frames", "keys", "words"),
    [
        ("a 1 2\nb 1\n", "a 0 1 spoof\n", "1 utterances are not in"),
        ("a 1 2\n", "a 0 1 spoof\nb 0 1 spoof\n", "1 utterances of"),
        ("a 1 2\na 1 2\n", "a 0 1 spoof\n", "scores twice"),
        ("a 1 x\n", "a 0 1 spoof\n", "line 1"),
        ("a 1 nan\n", "a 0 1 spoof\n", "not finite"),
        ("\n", "a 0 1 spoof\n", "no frame scores"),
    ],
)
def test_wrong_files_are_refused(tmp_path, frames, keys, words):
    (tmp_path / "frames.txt").write_text(frames)
    (tmp_path / "keys.txt").write_text(keys)
    with pytest.raises(UserError, match=words):
        segment_evaluation.evaluate(tmp_path / "frames.txt", tmp_path / "keys.txt")


def test_a_text_file_of_any_system_and_the_index_of_a_corpus(tmp_path):
    import pyarrow
    import pyarrow.parquet

    (tmp_path / "frames.txt").write_text("x/a.wav 1 1 -1\nb 1 2 3\n")
    columns = {"utterance": ["a", "b"], "segments": ["0.04-0.06", "-"]}
    index = tmp_path / "index-eval.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), index)
    rates = segment_evaluation.evaluate(tmp_path / "frames.txt", index)
    assert rates.by_resolution[20] == rates.range_based == rates.utterance == 0
    assert rates.seconds == pytest.approx(0.12)
    text = segment_evaluation.table(rates)
    assert "2 utterances, 1 with spoof" in text and "range-based           0.0" in text
    columns["segments"][0] = ""
    pyarrow.parquet.write_table(pyarrow.table(columns), index)
    with pytest.raises(UserError, match="labels of a are not known"):
        segment_evaluation.evaluate(tmp_path / "frames.txt", index)


def test_a_page_of_the_head_is_refused(run, tmp_path):
    from mldg_jax.exporting import browser_page

    with pytest.raises(UserError, match="the head frame cannot be exported to ONNX"):
        browser_page.export_run(run, tmp_path / "out", "web")
    assert not (tmp_path / "out").exists()
