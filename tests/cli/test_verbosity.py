"""--quiet and --verbose; no colours."""

import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from mldg_jax import cli
from mldg_jax.common import console
from mldg_jax.common.console import LIBRARY
from tests.data import small_debspoof

SMALL = ("steps=2", "log_every=1", "model.weights=random", "model.frontend.layers=1",
         "crop_samples=1600")  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    small_debspoof.make(folder, "small")
    return folder


def mldg(*words):
    done = subprocess.run(
        [sys.executable, "-m", "mldg_jax.cli", *map(str, words)],
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "NO_COLOR"},
    )
    assert "\x1b[3" not in done.stdout + done.stderr  # no colour
    assert done.returncode == 0, done.stderr
    return done


def train(data, folder, *more):
    words = ["train", "--config", "configs/debspoof.py:erm", "--workdir", folder]
    for setting in SMALL:
        words += ["--set", setting]
    return mldg(*words, "--data-dir", data, *more)


def test_a_quiet_training_says_nothing_but_its_result(data, tmp_path):
    quiet = train(data, tmp_path / "quiet", "--quiet")
    assert not quiet.stderr and "finished" in quiet.stdout
    usual = train(data, tmp_path / "usual")
    assert "step/s" in usual.stderr and "compiling the training step" in usual.stderr
    assert "Finished XLA compilation" not in usual.stderr
    verbose = train(data, tmp_path / "verbose", "-v")
    assert "compiling the training step" in verbose.stderr
    assert "Finished XLA compilation" in verbose.stderr
    for run in ("usual", "verbose"):  # they change nothing else
        files = [tmp_path / x / "trainable.safetensors" for x in ("quiet", run)]
        assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("speaker", ["s2", "s1"])
def test_a_quiet_build_says_nothing_but_its_result_and_warnings(tmp_path, speaker):
    wave = 0.1 * np.random.default_rng(0).normal(size=8_000)
    rows = ["path,label,attack,split,speaker"]
    for name, *columns in (
        ("a", "bonafide", "-", "train", "s1"),
        ("b", "spoof", "A1", "train", ""),
        ("c", "bonafide", "-", "eval", speaker),
    ):
        soundfile.write(tmp_path / f"{name}.wav", wave, 16_000)
        rows.append(",".join([f"{tmp_path / name}.wav", *columns]))
    (tmp_path / "mine.csv").write_text("\n".join(rows) + "\n")
    source = ["--source", tmp_path / "mine.csv", "--data-dir", tmp_path / "data"]
    quiet = mldg("corpus", "build", "manifest", *source, "--workers", "1", "-q")
    assert "built; see" in quiet.stdout
    if speaker == "s1":  # is in train, too
        assert quiet.stderr.startswith("warning: 1 human speaker is in more than one")
    else:
        assert not quiet.stderr


@pytest.mark.parametrize("is_quiet", [True, False])
def test_progress_is_said_unless_quiet(is_quiet, monkeypatch, capsys):
    monkeypatch.setenv(console.QUIET, "1" if is_quiet else "")
    console.progress("compiling")
    assert capsys.readouterr().err == "compiling\n" * (not is_quiet)


def test_errors_are_said_and_the_process_is_as_before(capsys):
    level, variables = LIBRARY.level, dict(os.environ)
    assert cli.main(["score", "no/run", "a.wav", "--quiet"]) == 2
    assert "is not a run folder" in capsys.readouterr().err
    assert LIBRARY.level == level and dict(os.environ) == variables
    with pytest.raises(SystemExit):
        cli.main(["score", "no/run", "a.wav", "--quiet", "--verbose"])
