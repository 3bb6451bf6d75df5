"""``mldg demo --quick`` from a corpus to three verdicts; then once more."""

import json
import os
import re

import numpy as np
import pytest

from mldg_jax import cli
from mldg_jax.data.corpus import Corpus
from mldg_jax.experiments import quick_demo
from tests import webpages
from tests.data import small_debspoof

FAST = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
SETTINGS = (
    "steps=3", "crop_samples=1600", "log_every=1", "checkpoint_every=3",
    "optimizer.warmup=1", "model.frontend.layers=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    data = tmp_path_factory.mktemp("quick") / "data"
    workdir = data.parent / "runs"
    small_debspoof.make(data, "quick")
    words = ["demo", "--quick", "--workdir", str(workdir), "--data-dir", str(data)]
    for text in SETTINGS:
        words += ["--set", text]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLA_FLAGS", f"{os.environ.get('XLA_FLAGS', '')} {FAST}")
        yield workdir, words


def test_three_verdicts_are_those_of_mldg_score(command, capsys):
    workdir, words = command
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    rows = re.findall(r"(\S+\.wav) +(.+?) +([+−][\d.]+) +([✓✗]) (.+)", printed)
    kinds = [kind.split(",")[0] for _, kind, *_ in rows]
    assert kinds == ["bona fide", "spoof: piper_vits", "spoof: phase_voc"]
    assert "never trained on" in rows[2][1] and "of the training" in rows[1][1]

    files = [row[0] for row in rows]
    assert cli.main(["score", str(workdir / "mldg-0"), *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    scores = [float(line.split()[-1]) for line in lines]
    for score, (_, kind, text, mark, word) in zip(scores, rows, strict=True):
        assert float(text.replace("−", "-")) == pytest.approx(score, abs=0.006)
        assert word.strip() == ("bona fide" if score > 0 else "spoof")
        assert (mark == "✓") == kind.startswith(word.strip())

    page = (workdir / quick_demo.REPORT).read_text()
    webpages.needs_no_network(page)
    assert page.count("<audio") == 3 and all(row[2] in page for row in rows)
    # the detector itself is that of mldg train: calibrated, with a model card
    assert json.loads((workdir / "mldg-0" / "calibration.json").read_text())
    assert (workdir / "mldg-0" / "MODEL_CARD.md").exists()


def test_again_trains_nothing(command, capsys):
    workdir, words = command
    files = [*workdir.glob("mldg-0/*.*")]
    before = {path: path.stat().st_mtime_ns for path in files}
    assert len(files) > 4
    assert cli.main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in files} == before
    assert capsys.readouterr().out.count(".wav") == 4  # 3 and the hint


@pytest.mark.parametrize("option", [["--seeds", "2"], ["--size", "full"]])
def test_options_of_the_full_demo_are_refused(option, capsys):
    assert cli.main(["demo", "--quick", *option]) == 2
    assert f"leave out {option[0]}, or --quick" in capsys.readouterr().err


@pytest.mark.parametrize("option", [[], ["--quick"]])
def test_a_workdir_that_cannot_be_is_refused_before_a_corpus_is_built(
    option, tmp_path, capsys
):
    (tmp_path / "file").touch()
    data = ["--data-dir", str(tmp_path / "data")]
    workdir = ["--workdir", str(tmp_path / "file")]
    assert cli.main(["demo", *option, *data, *workdir]) == 2
    assert "file is not a folder" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("score", [0.5, -0.5])
def test_an_undetected_unseen_attack_is_explained(score, tmp_path):
    verdict = quick_demo.Verdict(tmp_path, "spoof", 0, True, "en", score, "")
    result = quick_demo.QuickResult(tmp_path, (verdict,), 0.25, 80, ("new",), 1.0)
    assert ("went undetected" in result.summary()) == (score > 0)
    assert "80 utterances" in result.summary() and "25 %" in result.summary()
    assert verdict.text() == ("✗ bona fide" if score > 0 else "✓ spoof")


def test_recordings_are_chosen_by_kind_and_length_alone():
    attacks = ["-", "-", "lpc", "piper_vits", "piper_vits", "older", "new"]
    lengths = [5, 9, 20, 6, 7, 3, 30]
    rows = Corpus(
        utterance=np.array([str(i) for i in range(7)]),
        label=np.array([1, 1, 0, 0, 0, 0, 0], np.int32),
        attack=np.array(attacks),
        speaker=np.array(["s"] * 7),
        language=np.array(["en"] * 7),
        audio=[np.zeros(n, np.int16) for n in lengths],
    )
    assert quick_demo.chosen_rows(rows, ["new", "older"]) == [1, 4, 6]
    assert quick_demo.chosen_rows(rows, []) == [1, 4]
    few = rows.take(np.arange(3))
    assert quick_demo.chosen_rows(few, []) == [1, 2]
