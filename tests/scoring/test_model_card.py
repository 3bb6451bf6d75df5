"""The model card: how a model was trained, what its scores mean, how it can fail."""

import json

import numpy as np
import pytest
import soundfile
import yaml

from mldg_jax import cli
from mldg_jax.common import run_folder
from mldg_jax.common.errors import UserError
from mldg_jax.models.pretrained.whisper_tiny import HUB_NAME
from mldg_jax.scoring import model_card, scorer
from tests import signals


def card(run):
    """The heading, parsed, and the text."""
    _, heading, text = (run / model_card.CARD).read_text().split("---\n", 2)
    return yaml.safe_load(heading), text


def test_a_finished_run_has_a_card(own_smoke_run):
    heading, text = card(own_smoke_run)
    assert heading["license"] == "other"  # the corpus counts, too, as the text says
    assert "weights, whisper-tiny.en (`mit`), and of the training corpus" in text
    assert heading["base_model"] == HUB_NAME
    assert "model-index" not in heading  # nothing was evaluated
    assert "**A higher score means bona fide (human) speech.**" in text
    assert "A01 (10), A03 (10)" in text and "- excluded from training: A02" in text
    assert (
        "70 bona fide utterances of 7 speakers; languages en" in text
        and "- seed: 7" in text
    )
    assert (
        "objective: mldg, inner_lr 0.01, beta 1.0, order first, inner_steps 1" in text
    )


def test_what_made_a_run_is_in_its_config(own_smoke_run):
    found = json.loads((own_smoke_run / run_folder.CONFIG).read_text())["provenance"]
    assert found["trained_on"]["spoof"].keys() == {"A01", "A03", "A04", "A05", "A06"}
    assert {"jax", "flax", "python", "mldg_jax"} <= found["versions"].keys()
    assert found["command"] and found["started"].endswith("+00:00")
    config = run_folder.read_config(own_smoke_run)
    assert config.seed == 7 and config.episode.exclude == ("A02",)


def test_an_evaluation_is_added_with_a_warning_of_what_was_trained_on(
    own_smoke_run, tmp_path, capsys
):
    rng = np.random.default_rng(0)
    lines = [f"b{i} - bonafide {rng.normal(1):.4f}\n" for i in range(60)]
    lines += [
        f"s{i} {('A01', 'A02', 'A77')[i % 3]} spoof {rng.normal(-1):.4f}\n"
        for i in range(60)
    ]
    scores = tmp_path / "scores.txt"
    scores.write_text("".join(lines))
    arguments = ["evaluate", "--scores", str(scores), "--card", str(own_smoke_run)]
    assert cli.main(arguments) == 0
    warning = capsys.readouterr().err
    assert "trained on A01" in warning and "A77" not in warning
    heading, text = card(own_smoke_run)
    (result,) = heading["model-index"][0]["results"]
    assert result["metrics"][0]["type"] == "eer"
    assert 0 < result["metrics"][0]["value"] < 0.5
    assert "has attacks that this model was trained on: A01." in text
    assert cli.main(arguments) == 0  # again: replaced, not repeated
    assert len(json.loads((own_smoke_run / model_card.EVALUATIONS).read_text())) == 1


def test_calibration_makes_scores_likelihood_ratios_and_the_card_says_so(
    own_smoke_run, tmp_path, capsys
):
    corpus = signals.corpus()
    label = corpus.label.copy()
    label[::9] = 1 - label[::9]  # a split without errors has no best scale
    corpus = corpus._replace(label=label)
    raw = scorer.load(own_smoke_run)
    clips = [corpus.waveform(i) for i in range(20)]
    before = scorer.score_waveforms(raw, clips)
    assert raw.calibration is None
    scorer.calibrate(own_smoke_run, corpus, utterances=30)
    fitted = scorer.load(own_smoke_run)
    expected = fitted.calibration.scale * before + fitted.calibration.offset
    found = scorer.score_waveforms(fitted, clips)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert (fitted.calibration.n_bonafide, fitted.calibration.n_spoof) == (30, 30)
    text = card(own_smoke_run)[1].replace("\n", " ")
    assert "calibrated on 30 bona fide and 30 spoof" in text
    assert "not used for training" not in text  # nobody said so
    few = "a calibration on 30 bona fide and 30 spoof utterances is not reliable"
    assert few in text
    soundfile.write(tmp_path / "a.wav", clips[0], 16_000)
    capsys.readouterr()
    assert cli.main(["score", str(own_smoke_run), str(tmp_path / "a.wav")]) == 0
    assert few in capsys.readouterr().err
    # calibrating a calibrated run starts from its raw scores
    scorer.calibrate(own_smoke_run, corpus, utterances=30)
    assert scorer.load(own_smoke_run).calibration == fitted.calibration
    # so a damaged one is mended by it
    (own_smoke_run / "calibration.json").write_bytes(b"\xff")
    with pytest.raises(UserError, match=r"is damaged.*calibrate again"):
        scorer.load(own_smoke_run)
    scorer.calibrate(own_smoke_run, corpus, utterances=30)
    assert scorer.load(own_smoke_run).calibration == fitted.calibration


def test_a_card_of_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not a run folder"):
        model_card.write(tmp_path)
