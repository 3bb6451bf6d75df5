"""`mldg evaluate --robustness`: its numbers are those of degraded files on disk."""

import hashlib
import json
import os
import shutil

import numpy as np
import pytest
import soundfile

from mldg_jax import cli, metrics
from mldg_jax.data import audio
from mldg_jax.data.augment import codecs
from mldg_jax.data.augment.degradations import degrade
from mldg_jax.scoring import key_files, score_files
from mldg_jax.scoring.robustness import degraded_scores
from tests import test_file_formats

NAMES = ("white-0db", "babble-10db", "first-1s", "via-8k", "lead-digital")


def command(run, on_disk, output, *words):
    """Runs the command on the recordings; returns its exit status."""
    source = ["--audio", str(on_disk / "audio"), "--keys", str(on_disk / "keys.csv")]
    options = ["--output", str(output), "--replicas", "40", *words]
    return cli.main(["evaluate", "--robustness", str(run), *source, *options])


def scores_of(path):
    lines = score_files.read(path)
    names = [name.split("/")[-1].removesuffix(".wav") for name in lines.utterance]
    return dict(zip(names, lines.score, strict=True))


@pytest.fixture(scope="module")
def evaluated(smoke_run, on_disk, tmp_path_factory):
    """The folder of a finished evaluation."""
    folder = tmp_path_factory.mktemp("evaluated") / "out"
    assert command(smoke_run, on_disk, folder, "--only", ",".join(NAMES)) == 0
    return folder


@pytest.mark.parametrize("name", ["clean", *NAMES])
def test_numbers_are_those_of_degraded_files(
    name, smoke_run, on_disk, evaluated, tmp_path
):
    keys = key_files.read(on_disk / "keys.csv")
    waves = {
        x: audio.read(on_disk / "audio" / f"{x}.wav")[:]
        for x in keys.utterance.tolist()
    }
    speaker = dict(zip(keys.utterance.tolist(), keys.columns["speaker"], strict=True))
    real = keys.label == 1
    pool = sorted(keys.utterance[real].tolist(), key=_rank)  # all 24 of them
    first = list({speaker[x]: x for x in pool[::-1]}.values())[::-1]
    pool = [*first, *(x for x in pool if x not in first)]
    for own, wave in waves.items():
        others = [x for x in pool if speaker[x] != speaker[own]]

        def voices(rng, count, others=others):
            return [waves[others[i]] for i in rng.choice(len(others), count, False)]

        if name == "lead-digital":
            wave = np.concatenate([np.zeros(8_000), wave])
        elif name == "first-1s":
            wave = wave[:16_000]
        elif name != "clean":
            wave = degrade(wave, name, own, voices)
        soundfile.write(tmp_path / f"{own}.wav", wave, 16_000, subtype="FLOAT")
    out = tmp_path / "scores.txt"
    assert cli.main(["score", str(smoke_run), str(tmp_path), "--output", str(out)]) == 0
    expected, found = scores_of(out), scores_of(evaluated / f"scores_{name}.txt")
    assert found.keys() == expected.keys() == waves.keys()
    for own in waves:
        assert found[own] == pytest.approx(expected[own], abs=2e-5)
    clean = scores_of(evaluated / "scores_clean.txt")
    both = [np.array([x[u] for u in keys.utterance]) for x in (found, clean)]
    eer = [metrics.eer(x[real], x[~real])[0] for x in both]
    rates = json.loads((evaluated / "robustness.json").read_text())
    row, threshold = rates["degradations"][name], rates["threshold"]
    assert row["eer"] == pytest.approx(eer[0])
    assert row["eer_change"]["difference"] == pytest.approx(eer[0] - eer[1])
    hter = [
        ((x[real] < threshold).mean() + (x[~real] >= threshold).mean()) / 2
        for x in both
    ]
    assert row["at_clean_threshold"]["hter"] == pytest.approx(hter[0])
    assert row["hter_change"]["difference"] == pytest.approx(hter[0] - hter[1])
    attainable = metrics.eer(both[1][real], both[1][~real], attainable=True)[0]
    assert hter[1] == pytest.approx(attainable)  # the threshold is that of clean
    long = sum(len(x) > 16_000 for x in waves.values())
    assert 0 < long < 48
    changed = {"clean": 0, "first-1s": long}.get(name, 48)
    assert row["changed"] == changed and row["failed"] == {}


def _rank(name):
    return hashlib.sha256(name.encode()).digest()


def test_files_are_as_described(evaluated):
    title = "Robustness"
    results = json.loads((evaluated / "robustness.json").read_text())
    facts = json.loads((evaluated / "via-8k.json").read_text())
    assert facts.keys() == test_file_formats.described(title)
    assert results.keys() == test_file_formats.described(title, 1)
    row = results["degradations"]["via-8k"]
    assert row.keys() == test_file_formats.inline(title, "degradations")


def test_a_second_start_scores_nothing(evaluated, smoke_run, on_disk, monkeypatch):
    before = {x.name: x.read_bytes() for x in evaluated.iterdir()}
    monkeypatch.setattr(degraded_scores, "stream", None)  # scores
    assert command(smoke_run, on_disk, evaluated, "--only", ",".join(NAMES)) == 0
    assert {x.name: x.read_bytes() for x in evaluated.iterdir()} == before


def test_an_interrupted_command_continues(
    evaluated, smoke_run, on_disk, tmp_path, monkeypatch, capsys
):
    calls = []

    def counted(waveform, name, utterance, talkers):
        calls.append((name, utterance))
        if len(calls) == 61:  # the first degradation has 48
            raise KeyboardInterrupt
        return degrade(waveform, name, utterance, talkers)

    monkeypatch.setattr(degraded_scores, "degrade", counted)
    only = ("--only", "white-0db,via-8k,lead-digital")
    assert command(smoke_run, on_disk, tmp_path / "out", *only) == 130
    done = len((tmp_path / "out" / "via-8k.part").read_text().splitlines())
    scored = set(calls)
    with (tmp_path / "out" / "via-8k.part").open("a") as file:
        file.write('{"utterance": "u0')  # cut by a kill
    calls.clear()
    monkeypatch.setattr(degraded_scores, "degrade", degrade)
    assert command(smoke_run, on_disk, tmp_path / "out", *only) == 0
    for name in ("white-0db", "via-8k", "lead-digital"):
        file = f"scores_{name}.txt"
        found, expected = (
            scores_of(tmp_path / "out" / file),
            scores_of(evaluated / file),
        )
        assert found == pytest.approx(expected, abs=2e-5)
    assert not (tmp_path / "out" / "via-8k.part").exists()
    assert done <= len(scored)


@pytest.mark.parametrize("other", ["recordings", "run", "trials", "scores"])
def test_other_scores_are_not_mixed(
    other, evaluated, own_smoke_run, smoke_run, on_disk, tmp_path, capsys
):
    out = tmp_path / "out"
    shutil.copytree(evaluated, out)
    words, run, message = [], smoke_run, f"({other}): delete it to start over"
    recording = on_disk / "audio" / "u000.wav"
    stamp = recording.stat().st_mtime_ns
    if other == "recordings":
        os.utime(recording, ns=(1, 1))
    elif other == "run":
        run = own_smoke_run
        text = (run / "config.json").read_text()
        (run / "config.json").write_text(text.replace('"seed": 7', '"seed":  7'))
    elif other == "trials":
        words, message = ["--limit", "20"], "(recordings, trials): delete it to start"
    else:
        with (out / "scores_via-8k.txt").open("a") as file:
            file.write("u999 0.1\n")
        message = "scores_via-8k.txt has changed since it was written: delete it"
    try:
        assert command(run, on_disk, out, "--only", ",".join(NAMES), *words) == 2
    finally:
        os.utime(recording, ns=(stamp, stamp))
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said


def test_order_and_subset_change_no_score(evaluated, smoke_run, on_disk, tmp_path):
    lines = (on_disk / "keys.csv").read_text().splitlines()
    shutil.copytree(on_disk / "audio", tmp_path / "audio")
    (tmp_path / "keys.csv").write_text("\n".join([lines[0], *lines[:0:-1]]))
    words = ("--only", "white-0db,babble-10db", "--limit", "7")
    assert command(smoke_run, tmp_path, tmp_path / "out", *words) == 0
    for name in ("white-0db", "babble-10db"):
        found = scores_of(tmp_path / "out" / f"scores_{name}.txt")
        everything = scores_of(evaluated / f"scores_{name}.txt")
        assert len(found) == 14
        assert found == pytest.approx({x: everything[x] for x in found}, abs=2e-5)


def test_what_cannot_be_degraded_is_named_and_does_not_count(
    smoke_run, on_disk, tmp_path, capsys
):
    shutil.copytree(on_disk / "audio", tmp_path / "audio")
    shutil.copy(on_disk / "keys.csv", tmp_path)
    rng = np.random.default_rng(0)
    blip = np.r_[0.3 * rng.standard_normal(1_600).clip(-1, 1), np.zeros(16_000)]
    soundfile.write(tmp_path / "audio" / "u003.wav", blip, 16_000)
    words = ("--only", "trim-end,first-4s", "--json")
    assert command(smoke_run, tmp_path, tmp_path / "out", *words) == 0
    printed = capsys.readouterr()
    row = json.loads(printed.out)["degradations"]["trim-end"]
    assert list(row["failed"]) == ["u003"] and "0.2 s" in row["failed"]["u003"]
    assert row["at_clean_threshold"]["n_bonafide"] == 23
    assert "u003" not in scores_of(tmp_path / "out" / "scores_trim-end.txt")
    assert "u003" in scores_of(tmp_path / "out" / "scores_clean.txt")
    assert (
        "trim-end: no score for 1 of 48 recordings, which do not count" in printed.err
    )
    page = (tmp_path / "out" / "report.html").read_text()
    assert "trim-end: no score for 1 of 48 recordings, which do not count" in page
    assert "first-4s changes none of these recordings" in page


def test_a_missing_encoder_ends_the_command_before_anything_is_written(
    smoke_run, on_disk, tmp_path, capsys, monkeypatch
):
    gone = codecs.CODECS["opus"]._replace(encoder="libnothing")
    monkeypatch.setitem(codecs.CODECS, "opus", gone)
    assert command(smoke_run, on_disk, tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "no encoder libnothing" in said and "--without opus-24k" in said
    assert said.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "add score files with --scores FILE, or a run with --robustness RUN"),
        ("--scores a.txt --limit 5", "--limit is for --robustness RUN"),
        ("--robustness r --scores a.txt", "--scores does not go with --robustness"),
        ("--robustness r --html a.html", "--html does not go with --robustness"),
        ("--robustness r --audio x", "--audio needs the keys of the recordings"),
        ("--robustness r --keys x", "add them with --audio"),
        ("--robustness r --audio x --keys k --split dev", "name one of them"),
        ("--robustness r --limit 0", "--limit is 0, must be at least 1"),
        ("--robustness r --replicas 7", "replicas is 7, must be 0 for no intervals or"),
        ("--robustness r --only mp5", "--only has 'mp5', which is neither"),
        ("--robustness r", "r is not a run folder"),
    ],
)
def test_options_that_do_not_fit(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["evaluate", *words.split()]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_trials_without_a_recording(smoke_run, on_disk, tmp_path, capsys):
    keys = (on_disk / "keys.csv").read_text()
    (tmp_path / "keys.csv").write_text(f"{keys}u999,spoof,A01,s1\n")
    shutil.copytree(on_disk / "audio", tmp_path / "audio")
    assert command(smoke_run, tmp_path, tmp_path / "out", "--only", "level") == 2
    assert "1 of the 49 trials" in (said := capsys.readouterr().err)
    assert "the first is u999" in said and not (tmp_path / "out").exists()


def test_a_folder_of_something_else(smoke_run, on_disk, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert command(smoke_run, on_disk, tmp_path, "--only", "level") == 2
    assert "is not empty and not of mldg evaluate --robustness" in (
        capsys.readouterr().err
    )
    assert [x.name for x in tmp_path.iterdir()] == ["mine.txt"]
