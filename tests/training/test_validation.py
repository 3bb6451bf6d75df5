"""Validation on held-out training attacks, and the checkpoint it chooses."""

import json

import numpy as np
import pytest

from mldg_jax import metrics
from mldg_jax.common import run_folder
from mldg_jax.common.errors import UserError
from mldg_jax.data.corpus import BONAFIDE, SPOOF
from mldg_jax.scoring import scorer
from mldg_jax.training import loop, validation
from mldg_jax.training.config_files import read_config_file
from mldg_jax.training.log import read
from tests import signals

ON = ["validation.attacks=[A02, A05]", "validation.every=3", "validation.utterances=8"]


def config(*overrides):
    quick = ["steps=11", "log_every=2", "checkpoint_every=4"]
    return read_config_file("tests/tiny.py:mldg", [*quick, *ON, *overrides])


def train(config, workdir, **options):
    made = signals.corpus()
    options = {"progress": lambda step: None} | options
    return loop.train(config, workdir, made, validate_on=made, **options)


def validated(workdir):
    return validation.read(workdir, 10**9)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(config(), tmp_path_factory.mktemp("validated") / "run")


def test_left_out_attacks_are_never_trained_on(run):
    met = {a for line in read(run, 99) for a in line["by_attack"]}
    assert met == {"A01", "A03", "A04", "A06"}
    facts = run_folder.read_provenance(run)
    assert facts["trained_on"]["spoof"].keys() == met


def test_it_is_scored_every_so_many_steps_and_at_the_end(run):
    assert list(validated(run)) == [3, 6, 9, 11]
    assert all(0 <= eer <= 1 and loss > 0 for eer, loss in validated(run).values())


def test_the_result_is_the_best_checkpoint_and_scores_like_it(run):
    """EER and loss of the log, by `mldg score`'s own path, on rows chosen here."""
    history = validated(run)
    best = min(history, key=lambda step: (*history[step], step))
    corpus = signals.corpus()
    held_out = np.isin(corpus.attack, ["A02", "A05"])
    rows = [
        np.flatnonzero(which)[np.linspace(0, which.sum() - 1, 8).astype(int)]
        for which in (corpus.label == BONAFIDE, held_out)
    ]
    detector = scorer.load(run)
    real, spoof = (
        scorer.score_waveforms(detector, [corpus.waveform(i) for i in part])
        for part in rows
    )
    eer, loss = history[best]
    assert metrics.eer(real, spoof)[0] == pytest.approx(eer, abs=1e-9)
    entropy = np.logaddexp(0, -real).mean() / 2 + np.logaddexp(0, spoof).mean() / 2
    assert entropy == pytest.approx(loss, abs=1e-5)
    kept = {int(p.name) for p in (run / "checkpoints").iterdir() if p.name.isdigit()}
    ranked = sorted(history, key=lambda step: (*history[step], step))
    assert set(ranked[:2]) | {11} <= kept


def test_the_card_and_the_config_say_what_was_chosen(run):
    chosen = json.loads((run / "config.json").read_text())["provenance"]["validation"]
    history = validated(run)
    assert (chosen["eer"], chosen["loss"]) == history[chosen["step"]]
    assert chosen["attacks"] == ["A02", "A05"] and chosen["split"] == "dev"
    card = (run / "MODEL_CARD.md").read_text()
    assert f"- checkpoint: step {chosen['step']}, chosen from 4 validations" in card
    assert "8 bona fide and 8 spoof utterances of split dev" in card
    assert "held-out attacks: A02, A05" in card


def test_a_killed_run_chooses_the_same(run, tmp_path):
    class Killed(Exception):
        pass

    def die(step):
        if step == 8:
            raise Killed

    with pytest.raises(Killed):
        train(config(), tmp_path, progress=die)
    train(config(), tmp_path)
    assert validated(tmp_path) == validated(run)
    ours, theirs = map(run_folder.read_provenance, (tmp_path, run))
    assert ours["validation"] == theirs["validation"]
    one, other = ((w / run_folder.TRAINABLE).read_bytes() for w in (tmp_path, run))
    assert one == other


def test_training_stops_when_nothing_gets_better(tmp_path):
    """Nothing moves, so the first validation is the best, the third too many."""
    still = ["optimizer.lr=0", "optimizer.head_lr=0", "ema_decay=0"]
    end = train(config("validation.patience=2", "steps=50", *still), tmp_path)
    assert list(validated(end)) == [3, 6, 9]
    assert run_folder.read_provenance(end)["validation"]["step"] == 3


def test_ties_go_to_the_lower_loss_then_to_the_earlier():
    history = {9: (0.2, 0.5), 3: (0.2, 0.4), 6: (0.2, 0.4), 12: (0.3, 0.1)}
    assert validation.best(history) == [3, 6, 9, 12]
    assert not validation.exhausted(history, 0)
    assert validation.exhausted(history, 3) and not validation.exhausted(history, 4)
    assert not validation.exhausted({}, 1)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "attacks=[A07]",
            r"'A07', which is not an attack of the training split: choose",
        ),
        (
            "split=eval",
            r"split is 'eval'.* must not be chosen on .* data; set it to 'dev'",
        ),
        ("every=0", r"every is 0 and validation.attacks are A02, A05: set both"),
        ("attacks=[]", r"every is 3 and validation.attacks are none: set both"),
        ("keep=0", r"keep is 0; it must be 1"),
        ("attacks=[A01, A02, A03, A04, A05]", r"train on: 1, bona fide utterances: 70"),
    ],
)
def test_what_makes_no_sense_is_refused(override, message, tmp_path):
    with pytest.raises(UserError, match=message):
        train(config(f"validation.{override}"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_split_without_the_attacks_is_refused():
    corpus = signals.corpus()
    without = corpus.take(corpus.attack != "A05")
    with pytest.raises(UserError, match="'dev' has no A05: choose another"):
        validation.choose(config().validation, corpus, without)
    with pytest.raises(UserError, match="no split to validate on is given"):
        validation.choose(config().validation, corpus, None)
    chosen = validation.choose(config().validation, corpus, corpus)
    assert (chosen.label == SPOOF).sum() == (chosen.label == BONAFIDE).sum() == 8
    assert set(chosen.attack) == {"-", "A02", "A05"}


def test_a_speaker_fold_has_no_split_to_validate_on(tmp_path):
    """Training uses the speakers of all splits except the fold's own."""
    with pytest.raises(UserError, match="trains on speakers of the split"):
        train(config("corpus.fold=1"), tmp_path)
    assert not list(tmp_path.iterdir())
