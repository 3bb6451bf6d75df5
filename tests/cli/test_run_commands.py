"""What ``mldg train``, ``calibrate`` and ``export`` refuse; calibration's trials."""

import json
import shutil

import numpy as np
import pytest

from mldg_jax import cli
from mldg_jax.data import corpus as corpora
from mldg_jax.scoring import calibration_trials
from tests import signals


@pytest.fixture
def built(monkeypatch, tmp_path):
    """Replaces every corpus by test signals of one fingerprint."""
    monkeypatch.setattr(corpora, "find_corpus", lambda *_: tmp_path)
    monkeypatch.setattr(corpora, "corpus_sha256", lambda _: "abc")
    for module in (corpora, calibration_trials):
        monkeypatch.setattr(module, "load_split", lambda *_, **__: signals.corpus())


def refused(capsys, *arguments):
    """Returns the one line of a command that is refused."""
    assert cli.main([str(x) for x in arguments]) == 2
    message = capsys.readouterr().err
    assert message.startswith("mldg: ") and message.count("\n") == 1
    return message


def train(workdir, *overrides, config="tests/tiny.py:mldg"):
    values = [word for x in overrides for word in ("--set", x)]
    return ["train", "--config", config, "--workdir", workdir, *values]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["calibration.split=train", "calibration.utterances=9"],
            "calibration.split=dev",
        ),
        (["model.frontend.layers=0"], "model.frontend.layers is 0"),
        (["model.weights="], "model.weights is empty"),
    ],
)
def test_training_that_is_refused(overrides, words, built, tmp_path, capsys):
    assert words in refused(capsys, *train(tmp_path / "run", *overrides))


def test_a_file_as_run_folder_does_not_ask_for_space(built, tmp_path, capsys):
    (tmp_path / "file").touch()
    message = refused(capsys, *train(tmp_path / "file"))
    assert "is not a folder" in message and "free some space" not in message


def test_the_method_that_was_not_named_is_said(built, tmp_path, capsys):
    words = train(tmp_path / "run", "model.weights=", config="tests/tiny.py")
    assert cli.main([str(x) for x in words]) == 2
    assert capsys.readouterr().err.startswith("tests/tiny.py: method mldg\n")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--split", "train"], "was trained on split train of debspoof"),
        (["--corpus", "manifest/copy", "--split", "train"], "--split dev"),
        (["--utterances", "-1"], "number of utterances is -1"),
    ],
)
def test_a_calibration_that_is_refused(
    options, words, built, own_smoke_run, capsys, monkeypatch
):
    path = own_smoke_run / "config.json"
    path.write_text(path.read_text().replace('"sha256": ""', '"sha256": "abc"'))
    monkeypatch.setattr("mldg_jax.scoring.scorer.score_waveforms", None)
    assert words in refused(capsys, "calibrate", own_smoke_run, *options)
    assert not (own_smoke_run / "calibration.json").exists()


@pytest.mark.parametrize(
    ("options", "attacks", "spoof"),
    [
        ([], ["A01", "A03", "A04", "A05", "A06"], 50),
        (["--include-excluded"], ["A01", "A02", "A03", "A04", "A05", "A06"], 60),
    ],
)
def test_held_out_attacks_are_calibrated_on_only_if_asked(
    options, attacks, spoof, built, own_smoke_run, monkeypatch
):
    monkeypatch.setattr(
        "mldg_jax.scoring.scorer.score_waveforms",  # classes that overlap
        lambda _, waveforms: np.sin(np.linspace(0, 5, len([*waveforms]))),
    )
    assert cli.main(["calibrate", str(own_smoke_run), *options]) == 0
    fitted = json.loads((own_smoke_run / "calibration.json").read_text())
    assert (fitted["attacks"], fitted["n_spoof"]) == (attacks, spoof)
    card = (own_smoke_run / "MODEL_CARD.md").read_text()
    assert f"(attacks {', '.join(attacks)})" in " ".join(card.split())


def test_an_export_replaces_neither_a_run_nor_another_format(
    own_smoke_run, tmp_path, capsys
):
    for folder in (own_smoke_run, shutil.copytree(own_smoke_run, tmp_path / "other")):
        assert "is a run folder" in refused(capsys, "export", own_smoke_run, folder)
    arguments = ["export", str(own_smoke_run), str(tmp_path / "out")]
    assert cli.main(arguments) == cli.main(arguments) == 0
    capsys.readouterr()
    message = refused(capsys, *arguments, "--format", "merged")
    assert "which no export with --format merged wrote" in message


@pytest.mark.parametrize("name", ["README.md", "config.json", "notes.txt", ".git"])
@pytest.mark.parametrize("form", ["peft", "merged"])
def test_an_export_leaves_the_files_of_others(form, name, smoke_run, tmp_path, capsys):
    (tmp_path / name).write_text("mine")
    message = refused(capsys, "export", smoke_run, tmp_path, "--format", form)
    assert f"has {name}, which no export with --format {form} wrote" in message
    assert (tmp_path / name).read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == [name]
